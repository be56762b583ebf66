//! Missing topics. The worker waits for an input topic, and names it. It never creates a dead-letter topic, even if the
//! broker allows that: letters wait for it.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_wait_for_a_topic_that_is_not_there() {
    let kafka = kafka_that_makes_topics().await;
    let mut scope = scope("no_dlq").await;
    scope.endpoints.kafka_brokers = kafka.brokers().to_owned();
    let kit = Kit::on(scope, 1).await;
    let dlq = kit.scope.dlq_topic.clone();
    kit.delete_topic(&dlq).await;

    let worker = kit.worker();
    kit.apply("before", "1", "{}").await;
    kit.event("poison", "2", "no json").await;
    // It reports the wait after a letter was refused.
    until("the partition waits", async || partition(&worker, 0)["outage"].is_string()).await;
    assert_eq!(worker.health.report().1["status"], "waiting out an outage");
    assert!(!has_topic(&kit.scope.endpoints.kafka_brokers, &dlq).await, "somebody made it");
    assert!(kit.committed().await[&0] <= 1, "the letter is nowhere yet");

    kit.make_topics(1).await;
    assert_eq!(kit.dead_letters(1).await.len(), 1);
    kit.apply("behind", "3", "{}").await;
    kit.end_at(worker, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_topic_that_is_not_there_is_named_and_waited_for() {
    let kit = Kit::new("no_input", 1).await;
    let input = kit.scope.input_topic.clone();
    kit.delete_topic(&input).await;
    let worker = kit.process().await;
    let words = format!("the topic {input} does not exist: run `worker-service setup`");
    let is_told = async || {
        let told = worker.health().await["outage"] == words.as_str();
        told && worker.sample("worker_waiting").await == Some(1.0)
    };
    until("it is told at the start", is_told).await;
    worker.tells("The input topic does not exist").await;
    let is_ready = async || worker.health().await["status"] == "ready";
    kit.make_topics(1).await;
    until("it is found", is_ready).await;
    worker.tells_end_of("The input topic does not exist").await;
    // The same for a topic that is deleted while the worker runs.
    kit.delete_topic(&input).await;
    until("it is told", is_told).await;
    kit.make_topics(1).await;
    until("it is found again", is_ready).await;
    kit.apply("a", "1", "{}").await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
    let log = worker.end_and_log().await;
    assert_eq!(log.matches(&words).count(), 2, "{log}");
}
