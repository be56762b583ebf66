//! The services have exactly the metrics that the documentation names.

use std::collections::{BTreeMap, BTreeSet};

use devstack::token;

use crate::prelude::*;

const DOCS: &str = include_str!("../../../docs/operations.md");
const RULES: &str = include_str!("../../../observe/prometheus/rules.yml");
const RULE_TESTS: [&str; 4] = [
    include_str!("../../../observe/prometheus/tests/ads.yml"),
    include_str!("../../../observe/prometheus/tests/api.yml"),
    include_str!("../../../observe/prometheus/tests/placements.yml"),
    include_str!("../../../observe/prometheus/tests/worker.yml"),
];
const DASHBOARDS: [&str; 3] = [
    include_str!("../../../observe/grafana/dashboards/ads.json"),
    include_str!("../../../observe/grafana/dashboards/events.json"),
    include_str!("../../../observe/grafana/dashboards/placements.json"),
];

type Family = (String, BTreeSet<String>);

/// The cells of each row of the table in the documentation.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let section = DOCS.split("\n## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').map(str::trim).collect())
}

fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The panels of all dashboards.
fn panels() -> Vec<serde_json::Value> {
    let panels = |text| serde_json::from_str::<serde_json::Value>(text).unwrap()["panels"].as_array().unwrap().clone();
    DASHBOARDS.into_iter().flat_map(panels).collect()
}

/// The metrics of a service in the table.
fn documented(service: &str) -> BTreeMap<String, Family> {
    let mut all = BTreeMap::new();
    for cells in rows() {
        let [_, names, kinds, labels, services, ..] = cells[..] else { panic!("{cells:?}") };
        let kinds: Vec<_> = kinds.split(", ").collect();
        for (n, name) in quoted(names).enumerate().filter(|_| services.split(", ").any(|of| of == service)) {
            let kind = kinds.get(n).or(kinds.last()).unwrap();
            all.insert(name, ((*kind).to_owned(), quoted(labels).collect()));
        }
    }
    assert!(all.len() > 10, "the table is not where it was: {all:?}");
    all
}

/// By metric, the code spans in its explanation.
fn explained() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for cells in rows() {
        let words: BTreeSet<_> = cells[5..].iter().flat_map(|cell| quoted(cell)).collect();
        all.extend(quoted(cells[1]).map(|name| (name, words.clone())));
    }
    all
}

/// By metric, the values of the labels that distinguish kinds of samples.
fn kinds(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = line.split_once('{') else { continue };
        let labels = labels.split_once('}').unwrap().0;
        let name = name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
        for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
            if ["outcome", "reason", "kind"].contains(&label) {
                all.entry(name.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }
    all
}

/// The metrics of a service; checks their format.
fn scraped(text: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped.insert(help.split(' ').next().unwrap().to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            all.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else {
            let place = line.find(['{', ' ']).unwrap();
            let name = line[..place].trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
            let name = if all.contains_key(name) { name } else { &line[..place] };
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let names = labels.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            let family = all.get_mut(name).unwrap_or_else(|| panic!("no TYPE: {line}"));
            family.1.extend(names.filter(|label| label != "le"));
            *samples.entry(name.to_owned()).or_default() += 1;
        }
    }
    for (name, (kind, _)) in &all {
        assert!(helped.contains(name), "{name} has no HELP");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert_ne!(kind, "summary", "{name} has no buckets");
        assert!(samples[name] < 300, "{name} has {} series", samples[name]);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_lists_every_metric_and_each_is_there() {
    let (_collector, endpoint) = Collector::start().await;
    let keys = devstack::target_dir().join(format!("metrics-test-{}", std::process::id()));
    let (private, published) = (keys.with_extension("pem"), keys.with_extension("jwks"));
    token::generate("ES256", "k", &private, &published).unwrap();
    let published_at = published.to_string_lossy().into_owned();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("JWT_JWKS_FILE", &published_at),
    ];
    let system = System::start("metrics", &settings).await;
    let worker = system.worker();
    assert_eq!(system.post("d", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    system.until("it can be read", async || system.get("d").await.unwrap().status() == 200).await;
    // It waits to hear of its campaign, which is not there.
    let event = json!({"campaign_id": 9, "user_id": "u", "event_type": "click"});
    assert_eq!(system.api.post("/ad-events", &system.token, event.to_string()).send().await.unwrap().status(), 404);
    // A command, whose event is published, and whose files are made.
    let video = system.api.post("/videos", &system.token, r#"{"title":"t","durationMs":1}"#.to_owned()).send().await;
    assert_eq!(video.unwrap().status(), 201);
    let nowhere = system.api.get("/made-up", "").send().await;
    assert_eq!(nowhere.unwrap().status(), 404);
    let stranger =
        token::hs256("another secret, just as long as the first", "x", &["admin"], &[], Duration::from_secs(60));
    let refused = system.api.get("/resource/d", &stranger.unwrap()).send().await;
    assert_eq!(refused.unwrap().status(), 401);
    system.put("d", "not an event", &[]).await;
    system.until("there is a dead letter", async || system.dead_letters().await == 1).await;

    // The producer reports its queue, and the worker its lag, every five seconds.
    let all = async || {
        scraped(&system.api.metrics().await).len() == documented("api").len()
            && scraped(&worker.metrics().await).len() == documented("worker").len()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !all().await && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(scraped(&system.api.metrics().await), documented("api"));
    assert_eq!(scraped(&worker.metrics().await), documented("worker"));

    let (of_api, of_worker) = (system.api.metrics().await, worker.metrics().await);
    let explained = explained();
    let (api_kinds, worker_kinds) = (kinds(&of_api), kinds(&of_worker));
    for (name, values) in api_kinds.iter().chain(&worker_kinds) {
        let unexplained: Vec<_> = values.difference(&explained[name]).collect();
        assert!(unexplained.is_empty(), "{name}: the documentation does not say what {unexplained:?} is");
    }
    // Alerts use the increase of these, so each series must exist from the start.
    for (kinds, name) in [
        (&api_kinds, "kafka_produce_total"),
        (&api_kinds, "log_lines_dropped_total"),
        (&worker_kinds, "log_lines_dropped_total"),
        (&worker_kinds, "dead_letters_total"),
        (&worker_kinds, "events_total"),
    ] {
        assert_eq!(kinds[name], explained[name], "{name}");
    }
    let of_api_now = [
        (r#"http_requests_total{method="POST",route="/events",status="202"}"#, 1.0),
        (r#"http_requests_total{method="GET",route="none",status="404"}"#, 1.0),
        (r#"kafka_produce_total{outcome="accepted"}"#, 1.0),
        (r#"kafka_produce_total{outcome="queue_full"}"#, 0.0),
        // Of two producers.
        ("kafka_queue_limit_bytes", 134_217_728.0),
        (r#"auth_rejected_total{reason="signature"}"#, 1.0),
        (r#"dependency_up{dependency="Kafka"}"#, 1.0),
    ];
    let of_worker_now = [
        (r#"accepted_to_visible_seconds_count{kind="resource"}"#, 1.0),
        (r#"cache_fences_pending{kind="resource"}"#, 0.0),
        (r#"cache_fences_lost_total{kind="resource"}"#, 0.0),
        (r#"events_total{group="G",outcome="applied"}"#, 1.0),
        (r#"dead_letters_total{group="G",reason="undecodable"}"#, 1.0),
        (r#"dead_letters_total{group="G",reason="failed"}"#, 0.0),
        (r#"batch_records_bucket{group="G",le="1"}"#, 1.0),
        (r#"consumer_lag_records{group="G",partition="0"}"#, 0.0),
        (r#"records_lost_total{group="G"}"#, 0.0),
        (r#"worker_waiting{group="G"}"#, 0.0),
        (r#"assigned_partitions{group="G"}"#, 6.0),
        (r#"topic_partitions{group="G"}"#, 6.0),
    ];
    for (page, samples) in [(&of_api, &of_api_now[..]), (&of_worker, &of_worker_now)] {
        for (series, value) in samples {
            let series = series.replace(r#""G""#, &format!("{:?}", system.scope.group));
            assert_eq!(sample(page, &series), Some(*value), "{series}\n{page}");
        }
    }
    worker.end().await;
    for file in [private, published] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn every_alert_has_its_section_and_its_test_and_every_query_asks_for_what_there_is() {
    let sections: BTreeSet<_> = DOCS.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts: Vec<_> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        assert!(sections.contains(alert), "docs/operations.md has no section {alert}");
        let anchor = format!("runbook_url: docs/operations.md#{}", alert.to_lowercase());
        assert!(RULES.lines().any(|line| line.trim() == anchor), "{anchor}");
        let fires = format!("alertname: {alert}\n");
        assert!(RULE_TESTS.iter().any(|tests| tests.contains(&fires)), "{alert} is never seen to fire in the tests");
    }
    let known: BTreeSet<_> = documented("api").into_keys().chain(documented("worker").into_keys()).collect();
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut asked: BTreeSet<String> = targets.flat_map(|target| names(target["expr"].as_str().unwrap())).collect();
    asked.extend(names(RULES));
    assert!(asked.len() > 20, "{asked:?}");
    for name in &asked {
        assert!(known.contains(name), "{name} is asked for, and is no metric");
    }
}

/// A query that adds up groups, or kinds of what is cached, hides which one it is about.
#[test]
fn no_query_mixes_groups_or_kinds_of_what_is_cached() {
    let documented = documented("worker");
    let label = |name: &str| {
        let (_, labels) = documented.get(name)?;
        let of_cached = name.starts_with("cache_fences") || name == "accepted_to_visible_seconds";
        ["group", "kind"].into_iter().find(|label| labels.contains(*label) && (*label == "group" || of_cached))
    };
    let mut asked = 0;
    let mut ensure = |query: &str, title: &str, shown: &str| {
        for label in names(query).iter().filter_map(|name| label(name)) {
            asked += 1;
            let mut by = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
            assert!(by.all(|by| by.split(", ").any(|by| by == label)), "{title}: {query}");
            assert!(["sum(", "max(", "min("].iter().all(|all| !query.contains(all)), "{title}: {query}");
            assert!(shown.contains(label), "{title} does not show its {label}");
        }
    };
    for alert in RULES.split("- alert: ").skip(1) {
        let (title, rest) = alert.split_once('\n').unwrap();
        let (query, rest) = rest.split_once("labels: {").unwrap();
        let query: String = query.lines().filter(|line| !line.trim().starts_with('#')).collect();
        // An outage is the server's, whatever group meets it.
        if title != "OutageIsWaitedOut" {
            ensure(&query, title, rest.split_once("summary:").unwrap().1);
        }
    }
    for panel in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |member: &str| target[member].as_str().unwrap();
            ensure(text("expr"), panel["title"].as_str().unwrap(), text("legendFormat"));
        }
    }
    assert!(asked > 30, "{asked}");
}

/// The metric names in a text of queries, recognised by their last word.
fn names(text: &str) -> BTreeSet<String> {
    let functions = ["histogram_quantile", "humanize_duration", "ratio_rate"];
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.contains("summary:") && !line.contains("record:")) {
        // Without the values of labels.
        let values = line.split("=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let line = values.fold(line.to_owned(), |line, value| line.replace(&format!("\"{value}\""), ""));
        for name in line.split(|c: char| !word(c)).filter(|name| name.contains('_') && !name.contains(':')) {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_count");
            let ours = name.ends_with("_seconds") || name.ends_with("_total") || name.ends_with("_records");
            let gauge = ["_bytes", "_waiting", "_paused", "_up", "_keys", "_pending", "_partitions"];
            let state = ["_full", "_stalled", "_unreadable", "_running", "_leases", "_incarnations", "_violations"];
            if (ours || gauge.iter().chain(&state).any(|end| name.ends_with(end))) && !functions.contains(&name) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}
