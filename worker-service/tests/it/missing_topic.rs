//! Topics that are not there. An input topic is waited for, and named. A dead-letter topic is not made, whatever the
//! broker allows: letters wait for it.

use devstack::kit::{has_topic, kafka_that_makes_topics, scope};

use crate::prelude::*;

async fn is_there(kit: &Kit, topic: &str) -> bool {
    has_topic(&kit.scope.endpoints.kafka_brokers, topic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_wait_for_a_topic_that_is_not_there() {
    let kafka = kafka_that_makes_topics().await;
    let mut scope = scope("no_dlq").await;
    scope.endpoints.kafka_brokers = kafka.brokers().to_owned();
    let kit = Kit::on(scope, 1).await;
    let dlq = kit.scope.dlq_topic.clone();
    kit.delete_topic(&dlq).await;
    kit.until_it("it is gone", async || !is_there(&kit, &dlq).await).await;

    let worker = kit.worker();
    kit.event("before", "1", "{}").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    kit.event("poison", "2", "no json").await;
    // It says that it waits, once a letter was not taken.
    let waits = async || of_group(&worker.health.report().1)["partitions"]["0"]["outage"].is_string();
    kit.until_it("the partition waits", waits).await;
    assert!(!is_there(&kit, &dlq).await, "somebody made it");
    assert_eq!(kit.committed().await.get(&0).copied().unwrap_or(0).max(1), 1, "the letter is nowhere yet");

    kit.make_topics(1).await;
    let letters = tokio::time::timeout(Duration::from_secs(90), kit.dead_letters(1)).await.unwrap();
    assert_eq!(letters.len(), 1);
    kit.event("behind", "3", "{}").await;
    kit.until("SELECT count(*) FROM events", 2).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_topic_that_is_not_there_is_named_and_waited_for() {
    let kit = Kit::new("no_input", 1).await;
    let input = kit.scope.input_topic.clone();
    let delete = async || {
        kit.delete_topic(&input).await;
        kit.until_it("it is gone", async || !is_there(&kit, &input).await).await;
    };
    delete().await;
    let worker = kit.process().await;
    let words = format!("the topic {input} does not exist: run `worker-service setup`");
    let is_told = async || {
        let told = worker.health().await["outage"] == words.as_str();
        told && worker.sample("worker_waiting").await == Some(1.0)
    };
    kit.until_it("it is told at the start", is_told).await;
    worker.tells("The input topic does not exist").await;
    let is_ready = async || worker.health().await["status"] == "ready";
    kit.make_topics(1).await;
    kit.until_it("it is found", is_ready).await;
    worker.tells_end_of("The input topic does not exist").await;
    // The same of one that goes while it runs.
    delete().await;
    kit.until_it("it is told", is_told).await;
    kit.make_topics(1).await;
    kit.until_it("it is found again", is_ready).await;
    let log = worker.end_and_log().await;
    assert_eq!(log.matches(&words).count(), 2, "{log}");
}
