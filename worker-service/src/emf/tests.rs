use super::*;

const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678 UTC);

fn emitter() -> Emitter {
    let config = EmfConfig { namespace: Some("DeviceEvents".into()), interval: Duration::from_secs(60) };
    Emitter::new(&config, NOW).unwrap()
}

fn partition(lag: Option<u64>, watermark_age: f64) -> Measured {
    Measured { lag, watermark_age, ..Measured::default() }
}

/// The rules of the specification's JSON schema, and those that its text adds.
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

fn document(measured: impl IntoIterator<Item = Measured>, worker_waits: bool) -> Value {
    let document = emitter().document(&(0..).zip(measured).collect(), worker_waits, NOW);
    check(&document);
    document
}

#[test]
fn a_value_for_each_partition_that_is_worked_off() {
    let paused = Measured { paused: true, ..partition(Some(9_000), 70.0) };
    let unreadable = Measured { unreadable: true, ..partition(Some(8_000), 60.0) };
    let document = document([partition(Some(3), 0.5), partition(Some(0), 0.0), paused, unreadable], false);
    assert_eq!(document["ConsumerLag"], json!([3, 0]));
    assert_eq!(document["WatermarkAge"], json!([60.0, 0.5, 0.0]));
    assert_eq!((&document["Waiting"], &document["PausedPartitions"]), (&json!(0), &json!(1)));
    assert_eq!((&document["AssignedPartitions"], &document["Service"]), (&json!(4), &json!("worker-service")));
    assert_eq!(document["_aws"]["Timestamp"], 1_767_323_045_678_u64);
    assert_eq!(document["_aws"]["CloudWatchMetrics"][0]["Namespace"], "DeviceEvents");
}

#[test]
fn an_outage_is_told_whoever_s_it_is() {
    let waits = Measured { waits: true, ..partition(Some(10), 30.0) };
    assert_eq!(document([waits, partition(Some(1), 0.1)], false)["Waiting"], 1, "a partition waits");
    assert_eq!(document([], true)["Waiting"], 1, "the group is not joined for want of PostgreSQL");
    let kafka_away = document([partition(None, 30.0)], false);
    assert_eq!(kafka_away["Waiting"], 1);
    assert!(kafka_away.get("ConsumerLag").is_none(), "what is not known is not told");
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
fn one_document_in_each_interval_at_the_beat_of_the_clock() {
    let mut emitter = emitter();
    let seconds = |seconds| NOW + time::Duration::seconds(seconds);
    // It is five seconds past the minute.
    let due = (0..180).step_by(5).filter(|&at| emitter.is_due(seconds(at))).collect::<Vec<_>>();
    assert_eq!(due, [55, 115, 175]);
    assert!(Emitter::new(&EmfConfig { namespace: None, interval: Duration::from_secs(60) }, NOW).is_none());
}
