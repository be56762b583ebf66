use proptest::prelude::*;
use serde_json::json;

use super::assumed::{
    API_CORES, CONNECTIONS, FEWEST_PARTITIONS, GIB, MOST_PARTITIONS, REPLICAS, REQUESTS, TIB, TTL, WORKER_CORES, share,
};
use super::figures::{Figures, Source};
use super::load::{Load, Server};
use super::needs::{Count, Needs, ends, needs};
use super::*;

mod given;
mod sizes;

fn figures() -> Figures {
    Figures::committed().unwrap()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(workspace().join("docs").join(name)).unwrap()
}

#[test]
fn the_files_are_as_the_figures_say() {
    for (file, text) in renewed(&workspace(), &figures()).unwrap() {
        let is_same = std::fs::read_to_string(&file).unwrap() == text;
        assert!(is_same, "`make scale` writes {} again", file.display());
    }
}

/// A quoted figure is in the words that it names, and these are in a document, outside of what is generated.
#[test]
fn quoted_figures_are_in_the_documents() {
    let performance = page("performance.md");
    let (before, rest) = performance.split_once(BEGIN).unwrap();
    let by_hand = [before, rest.split_once(END).unwrap().1, &page("operations.md")].concat();
    let mut quoted = 0;
    for (name, figure) in figures().all() {
        let Source::Quoted(words) = &figure.source else { continue };
        quoted += 1;
        assert!(by_hand.contains(words.as_str()), "{name}: no document says {words:?}; see bench/figures.json");
        let value = if figure.value < 100.0 { figure.value.to_string() } else { crate::report::number(figure.value) };
        assert!(has_number(words, &value), "{name} is {value}, but {words:?} does not say so");
    }
    assert!(quoted > 10, "{quoted}");
}

/// Whether a text has a number, and not as a part of a longer one.
fn has_number(text: &str, number: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    text.match_indices(number).any(|(place, _)| {
        let (before, after) = (&text[..place], &text[place + number.len()..]);
        let goes_on = after.strip_prefix([',', '.']).is_some_and(|after| after.starts_with(is_digit));
        !before.ends_with(is_digit) && !after.starts_with(is_digit) && !goes_on
    })
}

#[test]
fn a_number_is_found_as_a_whole() {
    assert!(has_number("from 1,040 to 2", "1,040"));
    for text in ["1,040.5", "21,040", "1,0401", "1,040,000"] {
        assert!(!has_number(text, "1,040"), "{text}");
    }
}

/// The defaults that the model assumes are those of the services and of Terraform.
#[test]
fn settings_are_as_assumed() {
    let settings = page("settings.md");
    for (name, default) in [
        ("KAFKA_LINGER", "0ms".to_owned()),
        ("CACHE_TTL", format!("{TTL}s")),
        ("DATABASE_MAX_CONNECTIONS", CONNECTIONS.to_string()),
        ("TOPIC_PARTITIONS", FEWEST_PARTITIONS.to_string()),
        ("TOPIC_REPLICATION", REPLICAS.to_string()),
    ] {
        let row = settings.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
        assert_eq!(row.split('|').nth(3).unwrap().trim(), format!("`{default}`"), "{name}");
    }
    let gather = std::fs::read_to_string(workspace().join("api-service/src/ingest/producer/gather.rs")).unwrap();
    let longest = format!("LONGEST: Duration = Duration::from_millis({})", 1_000.0 / REQUESTS);
    assert!(gather.contains(&longest), "events gather for another time than {longest}");
    let most = format!("1 to {MOST_PARTITIONS}");
    assert!(settings.lines().any(|line| line.starts_with("| `TOPIC_PARTITIONS`") && line.contains(&most)));
    let services = std::fs::read_to_string(workspace().join("infra/terraform/services.tf")).unwrap();
    let services = services.split_whitespace().collect::<Vec<_>>().join(" ");
    let [api, worker] = [API_CORES, WORKER_CORES].map(|cores| format!("cpu = {}, memory", cores * 1_024.0));
    for words in [api, worker, format!("cpu = {}, out", share::API * 100.0)] {
        assert!(services.contains(&words), "infra/terraform/services.tf has no {words:?}");
    }
}

fn report() -> serde_json::Value {
    let usage = |name: &str, cpu: f64| json!({"name": name, "cpu_seconds": cpu, "resident_mib": 0, "peak_mib": 0});
    let row = |name: &str, last: f64, usages: serde_json::Value, note: &str| json!({"name": name, "unit": "", "figure": {"rounds": [1.0, last]}, "usages": usages, "notes": [note]});
    json!({
        "machine": "two cores", "seconds": 9, "settings": [],
        "scale": {"rounds": 2, "seconds": 5, "worker_events": 200_000, "backlog": 1, "expire_rows": 1},
        "rows": [
            row("POST /events", 20_000.0, json!([usage("api-service", 4.0), usage("kafka", 1.0)]), ""),
            row("worker, topic preloaded", 30_000.0, json!([usage("postgresql", 6.0)]), ""),
            row("accepted to visible, p99", 20.0, json!([usage("worker-service", 3.0)]), ""),
            row("worker, 10,000,000 resources", 25_000.0, json!([]), "1,234 bytes of WAL an event; tuned"),
            row("drain of one partition", f64::NAN, json!([]), ""),
        ],
    })
}

#[test]
fn a_report_renews_the_figures_that_it_has() {
    let mut renewed = figures();
    let taken = renewed.renew(report(), "2026-01-02").unwrap();
    let expected = ["post_api", "post_rate", "post_kafka", "paced_worker", "drained_postgres", "rate_10m", "wal_10m"];
    assert_eq!(taken, expected);
    let values = renewed.all().into_iter().filter(|(name, _)| taken.contains(name)).map(|(_, figure)| figure.value);
    // 4 s for 20,000 events a second in 5 s; 3 s for 1,000 a second in three turns of 5 s; 6 s for 200,000.
    assert_eq!(values.collect::<Vec<_>>(), [40.0, 20_000.0, 10.0, 30.0, 200.0, 25_000.0, 1_234.0]);
    let how = Source::Measured("`make bench`, POST /events, two cores, 2026-01-02".to_owned());
    assert_eq!(renewed.post_api.source, how);
    assert_eq!(renewed.read_api, figures().read_api);
    // What is written is read again.
    assert_eq!(serde_json::from_str::<Figures>(&renewed.to_json().unwrap()).unwrap(), renewed);
}

#[test]
fn another_file_is_no_report() {
    let error = figures().renew(json!({"rows": []}), "2026-01-02").unwrap_err();
    assert!(format!("{error:#}").starts_with("it is no report of the bench: missing field"), "{error:#}");
}

#[test]
fn the_answer_names_each_part_for_each_column() {
    let answer = examples(&figures()).unwrap();
    for part in ["10,000 devices", "1 million devices", "100 million devices", "**API**", "**Kafka**", "**worker**"] {
        assert!(answer.contains(part), "{part}\n{answer}");
    }
    for part in ["**PostgreSQL**", "**Redis**", "one PostgreSQL: memory", "devices with an event in 60 s"] {
        assert!(answer.contains(part), "{part}\n{answer}");
    }
    assert!(!answer.contains("caps"), "without impressions there are no caps\n{answer}");
}

prop_compose! {
    fn loads()(
        devices in prop_oneof![1.0..1e5, 1e5..1e10_f64],
        events_per_second in prop_oneof![1e-6..0.1, 0.1..100.0_f64],
        payload in 2.0..262_144.0_f64,
        events_per_request in 1.0..1_000.0_f64,
        topic_retention in 86_400.0..1e7_f64,
        longer in 1.0..1e8_f64,
        reads in prop_oneof![Just(0.0), 0.0..1e7_f64],
        impressions in prop_oneof![Just(0.0), 0.0..1e7_f64],
        impressions_per_user in 1.0..100.0_f64,
        peak in 1.0..20.0_f64,
        core_speed in 0.25..10.0_f64,
        server in (1.0..200.0_f64, 1.0..4_000.0_f64, 1.0..256.0_f64),
    ) -> Load {
        let events_retention = topic_retention + longer;
        let server = Server { cores: server.0, memory: server.1 * GIB, disk: server.2 * TIB };
        Load {
            devices, events_per_second, payload, events_per_request, events_retention, topic_retention, reads,
            impressions, impressions_per_user, peak, core_speed, server,
        }
    }
}

/// Everything that a load needs, as numbers.
fn all(needs: &Needs) -> Vec<(&'static str, f64)> {
    let Needs { events, events_at_peak, api, partitions, workers, connections, kafka, postgres, redis, caps } = needs;
    let mut all = vec![
        ("events", *events),
        ("events at peak", *events_at_peak),
        ("api", api.count),
        ("partitions", partitions.count),
        ("workers", workers.count),
        ("connections", *connections),
        ("kafka cores", kafka.cores),
        ("kafka written", kafka.written),
        ("kafka disk", kafka.disk),
        ("postgres cores", postgres.cores),
        ("hot", postgres.hot),
        ("events table", postgres.events),
        ("indexes", postgres.indexes),
        ("resources", postgres.resources),
        ("disk", postgres.disk),
        ("wal", postgres.wal),
        ("wal a day", postgres.wal_a_day),
        ("transactions", postgres.transactions),
        ("writes", postgres.writes),
        ("expiry", postgres.expiry.load),
        ("redis commands", redis.commands),
        ("redis memory", redis.memory),
        ("redis nodes", redis.nodes.count),
        ("caps memory", caps.memory),
        ("caps nodes", caps.nodes.count),
    ];
    all.extend(postgres.servers.iter().map(|(of, count)| (*of, count.count)));
    all
}

fn counts(needs: &Needs) -> Vec<(&'static str, Count)> {
    let Needs { api, partitions, workers, postgres, redis, caps, .. } = needs;
    let mut counts = vec![("api", *api), ("partitions", *partitions), ("workers", *workers)];
    counts.extend([("expiry", postgres.expiry), ("redis", redis.nodes), ("caps", caps.nodes)]);
    counts.extend(postgres.servers);
    counts
}

/// Not less, but for rounding.
fn at_least(more: f64, less: f64) -> bool {
    more >= less - less.abs() * 1e-9
}

proptest! {
    #[test]
    fn what_is_counted_carries_the_load(load in loads()) {
        let needs = needs(&load, &figures());
        for (of, value) in all(&needs) {
            prop_assert!(value.is_finite() && value >= 0.0, "{of}: {value}");
        }
        for (of, Count { load, each, count }) in counts(&needs) {
            prop_assert!(at_least(each * count, load), "{of}: {count} of {each} for {load}");
            prop_assert!(count >= 1.0 && count.fract() == 0.0, "{of}: {count}");
        }
        prop_assert!(needs.workers.count <= needs.partitions.count, "a worker without a partition is idle");
    }

    #[test]
    fn more_of_anything_never_needs_less(load in loads(), times in 1.0..100.0_f64, which in 0..9_usize) {
        let mut more = load.clone();
        let grown = match which {
            0 => &mut more.devices,
            1 => &mut more.events_per_second,
            2 => &mut more.payload,
            3 => &mut more.events_retention,
            4 => &mut more.topic_retention,
            5 => &mut more.reads,
            6 => &mut more.impressions,
            7 => &mut more.peak,
            _ => { more = load.with_devices(load.devices * times); &mut more.peak }
        };
        *grown *= times;
        let figures = figures();
        let (less, more) = (all(&needs(&load, &figures)), all(&needs(&more, &figures)));
        for ((of, less), (_, more)) in less.into_iter().zip(more) {
            prop_assert!(at_least(more, less), "{of}: {less}, and {more} with more of {which}");
        }
    }

    #[test]
    fn larger_batches_and_faster_cores_never_need_more(load in loads(), times in 1.0..10.0_f64) {
        let figures = figures();
        let now = needs(&load, &figures);
        let batched = Load { events_per_request: load.events_per_request * times, ..load.clone() };
        prop_assert!(at_least(now.api.count, needs(&batched, &figures).api.count));
        let faster = needs(&Load { core_speed: load.core_speed * times, ..load }, &figures);
        prop_assert!(at_least(now.postgres.cores, faster.postgres.cores));
        prop_assert!(at_least(now.workers.count, faster.workers.count));
        prop_assert!(at_least(now.partitions.count, faster.partitions.count));
    }

    #[test]
    fn each_part_ends_where_one_device_more_does_not_fit(load in loads()) {
        let figures = figures();
        for (of, end) in ends(&load, &figures) {
            if end >= 1e12 {
                continue;
            }
            let fits = |devices: f64| {
                let needs = needs(&load.with_devices(devices), &figures);
                match of.split_once(": ").map_or(of.as_str(), |(part, of)| if part == "one PostgreSQL" { of } else { part }) {
                    "expiry, by one worker at a time" => needs.postgres.expiry.fits_one(),
                    "Kafka and the workers" => needs.partitions.count <= MOST_PARTITIONS,
                    "one Redis" => needs.redis.nodes.fits_one(),
                    "one Redis of caps" => needs.caps.nodes.fits_one(),
                    of => needs.postgres.servers.iter().find(|(name, _)| *name == of).unwrap().1.fits_one(),
                }
            };
            prop_assert!(end == 0.0 || fits(end), "{of}: {end} devices do not fit");
            prop_assert!(!fits(end + 1.0), "{of}: more than {end} devices fit");
        }
    }
}
