//! A topic that was deleted and created again: its offsets start at 0, and its events are newer.

use crate::prelude::*;

/// Deletes the input topic and creates it again, as if some minutes had passed in between.
async fn make_anew(kit: &Kit) {
    kit.delete_topic(&kit.scope.input_topic).await;
    kit.sql("UPDATE resources SET appended_at = appended_at - interval '5 minutes'").await;
    // The broker continues to delete after its response.
    tokio::time::sleep(Duration::from_millis(500)).await;
    kit.make_topics(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_on_with_a_topic_that_was_made_anew() {
    let (kit, worker) = Kit::with_process("anew", 1).await;
    kit.events("a", 1..=10).await;
    // The client does not commit a lower offset than before by itself.
    kit.until_committed(0, 10).await;
    make_anew(&kit).await;
    kit.events("a", 11..=14).await;
    kit.until("SELECT count(*) FROM events", 14).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome <> 'applied'").await, 0);
    assert_eq!(kit.version("a").await, Some(14));
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":14}'"#).await, 1);
    // While the worker runs, not only at shutdown.
    kit.until_committed(0, 4).await;
    worker.tells("The input topic is recreated").await;
    // The new topic's end, not the old one's.
    kit.end_at(worker, 4).await;

    // The next worker loses no later event, although the topic has fewer records than the old one.
    kit.events("a", 15..=17).await;
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 17).await;
    worker.stop().await.unwrap();
    assert_eq!((kit.version("a").await, kit.committed().await[&0]), (Some(17), 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_offset_beyond_the_end_is_no_end() {
    let kit = Kit::new("beyond", 1).await;
    kit.events("a", 1..=4).await;
    kit.commit(100).await;
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 4).await;
    worker.stop().await.unwrap();
    assert_eq!((kit.version("a").await, kit.committed().await[&0]), (Some(4), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_offset_is_committed_again_until_kafka_takes_it() {
    let (kit, mock) = Kit::on_mock("lower").await;
    kit.events("a", 1..=4).await;
    kit.commit(100).await;
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3];
    mock.request_errors(RDKafkaApiKey::OffsetCommit, &refused);
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 4).await;
    kit.until_committed(0, 4).await;
    InProcess(&worker).tells("A commit of offsets fails").await;
    kit.events("a", 5..=6).await;
    kit.until_committed(0, 6).await;
    worker.stop().await.unwrap();
}
