//! How far the workers are behind, as CloudWatch and Prometheus hear of it.

use serde_json::{Value, json};

use crate::kit::{Own, System, Worker};

const EVENTS: u64 = 40;

/// The last document that a worker wrote.
fn last(worker: &Worker) -> Option<Value> {
    let log = worker.service.log();
    let line = log.lines().rev().find(|line| line.contains(r#""_aws""#) && line.ends_with('}'))?;
    Some(serde_json::from_str(line).unwrap())
}

fn sum(document: &Value, metric: &str) -> u64 {
    match &document[metric] {
        Value::Array(values) => values.iter().map(|value| value.as_u64().unwrap()).sum(),
        value => value.as_u64().unwrap_or(u64::MAX),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_and_that_an_outage_is_waited_out() {
    let settings = [("EMF_NAMESPACE", "DeviceEvents/test"), ("EMF_INTERVAL", "1s")];
    let system = System::start_with("lag", &[Own::Postgres], &settings).await;
    let worker = system.worker();
    let told = async |what: &str, holds: &dyn Fn(&Value) -> bool| {
        system.until(what, async || last(&worker).is_some_and(|document| holds(&document))).await;
    };
    told("all partitions are there, and nothing is behind", &|document| {
        sum(document, "AssignedPartitions") == 6 && sum(document, "ConsumerLag") == 0 && document["Waiting"] == 0
    })
    .await;
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
    let metrics = worker.metrics().await;
    let of = |name: &str| -> Vec<f64> {
        let lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(of("consumer_lag_records").len(), 6);
    assert_eq!(of("consumer_lag_records").iter().sum::<f64>(), EVENTS as f64);
    assert!(of("watermark_age_seconds").iter().any(|age| *age > 1.0));
    assert!(of("partition_waiting").contains(&1.0));
    let health = worker.health().await.unwrap();
    assert_eq!(health["status"], "waiting out an outage");
    let reasons = health["partitions"].as_object().unwrap().values().filter_map(|lane| lane["outage"].as_str());
    assert!(reasons.into_iter().all(|why| !why.is_empty()));

    assert_eq!(worker.live().await, 200, "it lives all the same");

    // One that starts now waits too, and says for what.
    let second = system.worker();
    system.until("it waits", async || second.status().await == "waiting out an outage").await;
    let outage = second.health().await.unwrap()["outage"].as_str().unwrap().to_owned();
    assert!(outage.starts_with("waiting for PostgreSQL"), "{outage}");
    let waits = async || last(&second).is_some_and(|document| document["Waiting"] == 1);
    system.until("it tells CloudWatch too", waits).await;
    assert_eq!(second.live().await, 200);
    system.until("and Prometheus", async || second.metrics().await.contains("\nworker_waiting 1")).await;
    second.service.kill().unwrap();

    system.servers.postgres().start().unwrap();
    told("it has caught up", &|document| sum(document, "ConsumerLag") == 0 && document["Waiting"] == 0).await;

    let second = system.worker();
    system
        .until("the two share the partitions, and each is counted once", async || {
            let assigned = |worker: &Worker| last(worker).map_or(0, |document| sum(&document, "AssignedPartitions"));
            (assigned(&worker), assigned(&second)) == (3, 3)
        })
        .await;
    second.end().await;
    worker.end().await;
}
