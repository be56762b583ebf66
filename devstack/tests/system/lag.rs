//! The workers' lag, as reported to CloudWatch and Prometheus.

use devstack::kit::samples;

use crate::kit::Running;
use crate::prelude::*;

const EVENTS: u64 = 40;

fn last(worker: &Running) -> Option<Value> {
    let log = worker.service.log();
    let line = log
        .lines()
        .rev()
        .find(|line| line.contains(r#""_aws""#) && line.contains(r#""Group""#) && line.ends_with('}'))?;
    Some(serde_json::from_str(line).unwrap())
}

fn sum(document: &Value, metric: &str) -> u64 {
    match &document[metric] {
        Value::Array(values) => values.iter().map(|value| value.as_u64().unwrap()).sum(),
        value => value.as_u64().unwrap_or(u64::MAX),
    }
}

/// The lag, whether the worker waits out an outage, and the number of its partitions.
fn counts(document: &Value) -> [u64; 3] {
    ["ConsumerLag", "Waiting", "AssignedPartitions"].map(|metric| sum(document, metric))
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_and_that_an_outage_is_waited_out() {
    // One group, whose documents and samples are counted here.
    let settings = [("EMF_NAMESPACE", "DeviceEvents/test"), ("EMF_INTERVAL", "1s"), ("WORKER_ONLY", "devices")];
    let system = System::start_with("lag", &[Own::Postgres], &settings).await;
    let worker = system.worker();
    let told = async |what: &str, holds: &dyn Fn(&Value) -> bool| {
        system.until(what, async || last(&worker).is_some_and(|document| holds(&document))).await;
    };
    told("all partitions are there, and nothing is behind", &|document| counts(document) == [0, 0, 6]).await;
    assert_eq!(last(&worker).unwrap()["_aws"]["CloudWatchMetrics"][0]["Namespace"], "DeviceEvents/test");

    system.servers.postgres().stop().unwrap();
    for n in 0..EVENTS {
        assert_eq!(system.post(&format!("d{n}"), "1", &json!({"n": n})).await.unwrap().status(), 202);
    }
    told("the lag is counted though nothing is fetched any more, and it is an outage", &|document| {
        let age = document["WatermarkAge"].as_array().and_then(|ages| ages.first()?.as_f64());
        sum(document, "ConsumerLag") == EVENTS && document["Waiting"] == 1 && age.is_some_and(|age| age > 1.0)
    })
    .await;
    let page = worker.metrics().await;
    let of = |name: &str| samples(&page, name).map(|(_, value)| value).collect::<Vec<_>>();
    assert_eq!(of("consumer_lag_records").len(), 6);
    assert_eq!(of("consumer_lag_records").iter().sum::<f64>(), EVENTS as f64);
    assert!(of("watermark_age_seconds").iter().any(|age| *age > 1.0));
    assert!(of("partition_waiting").contains(&1.0));
    let health = worker.health().await;
    assert_eq!(health["status"], "waiting out an outage");
    let reasons = devstack::kit::group_of_devices(&health)["partitions"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(|lane| lane["outage"].as_str());
    assert!(reasons.into_iter().all(|why| !why.is_empty()));

    assert_eq!(worker.live().await, 200, "it lives all the same");

    // A worker that starts now waits, too, and reports why.
    let second = system.worker();
    system.until("it waits", async || second.status().await == "waiting out an outage").await;
    let outage = second.health().await["outage"].as_str().unwrap().to_owned();
    assert!(outage.starts_with("waiting for PostgreSQL"), "{outage}");
    let waits = async || last(&second).is_some_and(|document| document["Waiting"] == 1);
    system.until("it tells CloudWatch too", waits).await;
    assert_eq!(second.live().await, 200);
    system.until("and Prometheus", async || second.sample("worker_waiting").await == Some(1.0)).await;
    second.service.kill().unwrap();

    system.servers.postgres().start().unwrap();
    told("it has caught up", &|document| sum(document, "ConsumerLag") == 0 && document["Waiting"] == 0).await;

    let second = system.worker();
    system
        .until("the two share the partitions, and each is counted once", async || {
            let assigned = |worker: &Running| last(worker).map_or(0, |document| sum(&document, "AssignedPartitions"));
            (assigned(&worker), assigned(&second)) == (3, 3)
        })
        .await;
    second.end().await;
    worker.end().await;
}

/// A lag that the worker can no longer know is not reported as 0, neither before nor after it loses its partitions.
#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_frozen_what_waits_stays_told_and_grows_older() {
    // One group, whose documents and samples are counted here.
    let settings = [("EMF_NAMESPACE", "DeviceEvents/test"), ("EMF_INTERVAL", "1s"), ("WORKER_ONLY", "devices")];
    let system = System::start_with("lag-kafka", &[Own::Kafka], &settings).await;
    let worker = system.worker();
    let told = async |what: &str, holds: &dyn Fn(&Value) -> bool| {
        system.until(what, async || last(&worker).is_some_and(|document| holds(&document))).await;
    };
    told("all partitions are there", &|document| sum(document, "AssignedPartitions") == 6).await;
    system.sql("ALTER TABLE events RENAME TO events_elsewhere").await;
    for n in 0..EVENTS {
        assert_eq!(system.post(&format!("d{n}"), "1", &json!({"n": n})).await.unwrap().status(), 202);
    }
    told("they wait", &|document| sum(document, "ConsumerLag") == EVENTS).await;
    let lag = async || worker.sample("consumer_lag_records").await;
    system.until("Prometheus hears of it", async || lag().await == Some(EVENTS as f64)).await;

    system.servers.kafka().freeze().unwrap();
    system
        .until("the group takes the partitions", async || {
            assert_eq!(lag().await, Some(EVENTS as f64));
            devstack::kit::group_of_devices(&worker.health().await)["partitions"] == json!({})
        })
        .await;
    assert_eq!(worker.sample("assigned_partitions").await, Some(0.0), "at once");
    let log = worker.service.log();
    assert_eq!(log.lines().filter(|line| line.contains(r#""message":"lost""#)).count(), 6, "{log}");
    assert!(log.contains("Consumer group session timed out"), "{log}");
    // Check all partitions: there may be more by now.
    system
        .until("they are older and older", async || {
            let page = worker.metrics().await;
            let of = |name: &str| samples(&page, name).map(|(_, value)| value).collect::<Vec<_>>();
            let (lag, age) = (of("consumer_lag_records"), of("watermark_age_seconds"));
            assert_eq!((lag.len(), lag.iter().sum::<f64>()), (6, EVENTS as f64));
            assert_eq!(of("assigned_partitions"), [0.0]);
            age.len() == 6 && age.iter().all(|age| *age > 20.0) && of("worker_waiting") == [1.0]
        })
        .await;
    let health = worker.health().await;
    assert_eq!(
        (&health["status"], &devstack::kit::group_of_devices(&health)["partitions"]),
        (&json!("waiting out an outage"), &json!({}))
    );
    assert!(health["outage"].as_str().unwrap().starts_with("Kafka does not answer"), "{health}");
    worker.tells("Kafka is frozen, or cut off").await;
    told("CloudWatch hears the same", &|document| {
        let ages = document["WatermarkAge"].as_array().map_or(0, Vec::len);
        (counts(document), ages) == ([EVENTS, 1, 0], 6)
    })
    .await;

    system.servers.kafka().thaw().unwrap();
    system.sql("ALTER TABLE events_elsewhere RENAME TO events").await;
    // Usually within seconds. But a resumed broker also executes requests that the client has given up: a group member
    // without a client must then time out first, sometimes more than once.
    let thawed = Instant::now();
    while last(&worker).as_ref().map(counts) != Some([0, 0, 6]) {
        let is_late = thawed.elapsed() > Duration::from_secs(240);
        assert!(!is_late, "it does not catch up: {}\n{}", worker.health().await, worker.service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let is_young = async || samples(&worker.metrics().await, "watermark_age_seconds").all(|(_, age)| age < 5.0);
    system.until("nothing is old", is_young).await;
    worker.tells_end_of("Kafka is frozen, or cut off").await;
    worker.end().await;
}
