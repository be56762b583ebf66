use super::*;
use crate::observe::partition_lag::Unstable;

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678 UTC);

fn emitter() -> Emitter {
    let config = EmfConfig { namespace: Some("DeviceEvents".into()), interval: Duration::from_secs(60) };
    Emitter::new(&config, ("Group", "g"), NOW).unwrap()
}

fn partition(lag: Option<u64>, watermark_age: f64) -> PartitionLag {
    PartitionLag { lag, watermark_age, ..PartitionLag::default() }
}

/// The rules of the specification's JSON schema and of its text.
fn check(document: &Value) {
    let root = document.as_object().unwrap();
    let aws = root["_aws"].as_object().unwrap();
    assert_eq!(aws.keys().collect::<Vec<_>>(), ["CloudWatchMetrics", "Timestamp"], "no further members");
    assert!(aws["Timestamp"].as_u64().is_some_and(|millis| (1_700_000_000_000..5_000_000_000_000).contains(&millis)));
    let directives = aws["CloudWatchMetrics"].as_array().unwrap();
    assert!(!directives.is_empty());
    for directive in directives {
        let directive = directive.as_object().unwrap();
        assert_eq!(directive.keys().collect::<Vec<_>>(), ["Dimensions", "Metrics", "Namespace"]);
        assert!((1..=1024).contains(&directive["Namespace"].as_str().unwrap().len()));
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for set in sets {
            let set = set.as_array().unwrap();
            assert!(set.len() <= 30);
            for name in set {
                let name = name.as_str().unwrap();
                assert!((1..=250).contains(&name.len()));
                assert!(root[name].as_str().is_some_and(|value| (1..=1024).contains(&value.len())), "a text");
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let metric = metric.as_object().unwrap();
            assert_eq!(metric.keys().collect::<Vec<_>>(), ["Name", "Unit"]);
            let name = metric["Name"].as_str().unwrap();
            assert!((1..=1024).contains(&name.len()));
            assert!(["Count", "Seconds", "None"].contains(&metric["Unit"].as_str().unwrap()), "units that there are");
            match &root[name] {
                Value::Array(values) => {
                    assert!((1..=100).contains(&values.len()));
                    assert!(values.iter().all(Value::is_number));
                }
                value => assert!(value.is_number(), "{name}: {value}"),
            }
        }
    }
    assert!(document.to_string().len() < 256 * 1024);
    assert_eq!(document.to_string().lines().count(), 1);
}

fn document(measured: impl IntoIterator<Item = PartitionLag>, worker_waits: bool) -> Value {
    let document = emitter().document(&(0..).zip(measured).collect(), worker_waits, Totals::default(), NOW);
    check(&document);
    document
}

#[test]
fn a_value_for_each_partition_that_is_worked_off() {
    let paused = PartitionLag { paused: true, ..partition(Some(9_000), 70.0) };
    let unreadable = PartitionLag { unreadable: true, ..partition(Some(8_000), 60.0) };
    let document = document([partition(Some(3), 0.5), partition(Some(0), 0.0), paused, unreadable], false);
    assert_eq!(document["ConsumerLag"], json!([3, 0]));
    assert_eq!(document["WatermarkAge"], json!([60.0, 0.5, 0.0]));
    assert_eq!(document["UnreadablePartitions"], 1);
    assert_eq!((&document["Waiting"], &document["PausedPartitions"]), (&json!(0), &json!(1)));
    assert_eq!((&document["AssignedPartitions"], &document["Service"]), (&json!(4), &json!("worker-service")));
    assert_eq!(document["_aws"]["Timestamp"], 1_767_323_045_678_u64);
    assert_eq!(document["_aws"]["CloudWatchMetrics"][0]["Namespace"], "DeviceEvents");
}

#[test]
fn an_outage_is_told_whoever_s_it_is() {
    let waits = PartitionLag { waits: true, ..partition(Some(10), 30.0) };
    assert_eq!(document([waits, partition(Some(1), 0.1)], false)["Waiting"], 1, "a partition waits");
    assert_eq!(document([], true)["Waiting"], 1, "the group is not joined for want of PostgreSQL");
    let unknown = |lag| PartitionLag { is_unknown: true, ..partition(lag, 30.0) };
    let kafka_away = document([unknown(None)], false);
    assert_eq!(kafka_away["Waiting"], 1);
    assert!(kafka_away.get("ConsumerLag").is_none(), "what was never known is not told");
    let lost = PartitionLag { is_lost: true, ..unknown(Some(7)) };
    let kafka_away = document([unknown(Some(3)), lost], false);
    assert_eq!(kafka_away["ConsumerLag"], json!([7, 3]), "it is at least that");
    assert_eq!(kafka_away["WatermarkAge"], json!([30.0, 30.0]));
    assert_eq!((&kafka_away["Waiting"], &kafka_away["AssignedPartitions"]), (&json!(1), &json!(1)));
    assert_eq!(document([], false)["Waiting"], 0, "a worker without a partition just has nothing to do");
}

#[test]
fn more_partitions_than_a_metric_has_room_for_stay_within_the_rules() {
    let many = document((0..150).map(|n| partition(Some(n), 0.0)), false);
    let told = many["ConsumerLag"].as_array().unwrap();
    assert_eq!((told.len(), &told[0], &told[99]), (MAX_VALUES, &json!(149), &json!(50)), "the largest");
    assert_eq!(many["AssignedPartitions"], 150);
}

#[test]
fn what_stands_still_and_what_waits_for_a_transaction_is_told() {
    let open = |records, seconds| {
        let unstable = Unstable { records, offset: 7, age: Duration::from_secs(seconds) };
        PartitionLag { unstable: Some(unstable), ..partition(Some(0), 0.0) }
    };
    let stalled = PartitionLag { stalled: Some(Duration::from_secs(200)), ..partition(Some(3), 200.0) };
    let alone = |keys| PartitionLag { held_alone: keys, ..partition(Some(1), 1.0) };
    let told = document([open(3, 61), open(4, 9), stalled, alone(2), alone(1)], false);
    for (name, value) in [
        ("UnstableRecords", json!(7)),
        ("UnstableAge", json!(61.0)),
        ("StalledPartitions", json!(1)),
        ("HeldAloneKeys", json!(3)),
        ("UnknownErrorLetters", json!(0)),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    let told = document([partition(Some(0), 0.0)], false);
    for name in
        ["UnstableRecords", "StalledPartitions", "HeldAloneKeys", "RecordsLost", "DeadLetters", "LogLinesDropped"]
    {
        assert_eq!(told[name], 0, "{name}: an alarm has to see that it is over");
    }
    assert_eq!(told["UnstableAge"], 0.0);
}

#[test]
fn what_happened_is_told_once_and_again_where_nobody_was_told() {
    let mut emitter = emitter();
    let totals = |records_lost, dead_letters, unknown_errors, log_lines_dropped| Totals {
        records_lost,
        dead_letters,
        unknown_errors,
        log_lines_dropped,
    };
    let told = |emitter: &Emitter, totals| {
        let document = emitter.document(&BTreeMap::new(), false, totals, NOW);
        check(&document);
        ["RecordsLost", "DeadLetters", "UnknownErrorLetters", "LogLinesDropped"]
            .map(|name| document[name].as_u64().unwrap())
    };
    assert_eq!(told(&emitter, totals(4, 2, 1, 30)), [4, 2, 1, 30]);
    // The log had no room for it.
    assert_eq!(told(&emitter, totals(5, 2, 1, 40)), [5, 2, 1, 40]);
    emitter.told(totals(5, 2, 1, 40));
    assert_eq!(told(&emitter, totals(5, 2, 1, 40)), [0, 0, 0, 0]);
    assert_eq!(told(&emitter, totals(6, 9, 3, 40)), [1, 7, 2, 0]);
}

#[test]
fn a_task_is_told_by_its_name() {
    let config = EmfConfig { namespace: Some("DeviceEvents".into()), interval: Duration::from_secs(60) };
    let mut emitter = Emitter::new(&config, ("Task", "t"), NOW).unwrap();
    let totals = Totals { log_lines_dropped: 4, ..Totals::default() };
    let told = emitter.task_document(true, totals, NOW);
    check(&told);
    assert_eq!((&told["Service"], &told["Task"]), (&json!("worker-service"), &json!("t")));
    assert_eq!((&told["TaskRunning"], &told["LogLinesDropped"]), (&json!(1), &json!(4)));
    emitter.told(totals);
    let told = emitter.task_document(false, totals, NOW);
    assert_eq!((&told["TaskRunning"], &told["LogLinesDropped"]), (&json!(0), &json!(0)));
}

/// The names and units of the metrics of a group's document, and of a task's.
fn names() -> BTreeMap<String, String> {
    let mut all = names_of(&document([partition(Some(1), 1.0)], false));
    all.extend(names_of(&emitter().task_document(true, Totals::default(), NOW)));
    all
}

fn names_of(full: &Value) -> BTreeMap<String, String> {
    let metrics = full["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    let text = |metric: &Value, member: &str| metric[member].as_str().unwrap().to_owned();
    metrics.iter().map(|metric| (text(metric, "Name"), text(metric, "Unit"))).collect()
}

#[test]
fn the_documentation_lists_every_metric_with_its_unit() {
    const DOCS: &str = include_str!("../../../../docs/operations.md");
    let section = DOCS.split("\n## Lag for scaling\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeMap<_, _> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` | ").unwrap();
            (name.to_owned(), rest.split(' ').next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(listed, names());
}

#[test]
fn every_alarm_asks_for_a_metric_that_there_is_and_has_its_section() {
    const ALARMS: &str = include_str!("../../../../infra/terraform/alarms.tf");
    const DOCS: &str = include_str!("../../../../docs/operations.md");
    let resource = |name: &str| {
        let begin = format!("resource \"aws_cloudwatch_metric_alarm\" {name:?}");
        ALARMS.split(&begin).nth(1).unwrap().split("\nresource ").next().unwrap()
    };
    let worker = format!("{}{}", resource("worker"), resource("task"));
    let asked: Vec<_> = worker.lines().filter_map(|line| line.split_once("{ name = \"")?.1.split('"').next()).collect();
    assert!(asked.len() >= 10, "{asked:?}");
    let known = names();
    for name in &asked {
        assert!(known.contains_key(*name), "{name} is asked for, and is no metric");
    }
    let local = ALARMS.split("worker_alarms = {").nth(1).unwrap().split("\nresource ").next().unwrap();
    let alarms: Vec<_> = local.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" = {")).collect();
    assert!(alarms.len() >= 12 && alarms.contains(&"TaskDoesNotRun"), "{alarms:?}");
    for alarm in &alarms {
        assert!(DOCS.contains(&format!("\n### {alarm}\n")), "docs/operations.md has no section {alarm}");
    }
    let rules = include_str!("../../../../observe/prometheus/rules.yml");
    for alarm in &alarms {
        assert!(rules.contains(&format!("- alert: {alarm}\n")), "{alarm} is no rule's name");
    }
}

#[test]
fn one_document_in_each_interval_at_the_beat_of_the_clock() {
    let mut emitter = emitter();
    let seconds = |seconds| NOW + time::Duration::seconds(seconds);
    // Five seconds past the minute.
    let due = (0..180).step_by(5).filter(|&at| emitter.is_due(seconds(at))).collect::<Vec<_>>();
    assert_eq!(due, [55, 115, 175]);
    assert!(
        Emitter::new(&EmfConfig { namespace: None, interval: Duration::from_secs(60) }, ("Group", "g"), NOW).is_none()
    );
}
