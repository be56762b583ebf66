//! A dead-letter topic that refuses every letter: nothing is lost, and nothing is committed past it.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_are_refused_again_and_again_are_no_flood() {
    let kit = Kit::new("refused", 1).await;
    // Smaller than any letter: the broker refuses each one immediately.
    kit.set_topic(&kit.scope.dlq_topic, &[("max.message.bytes", "100")]).await;
    kit.poison(60, &[]).await;
    let worker = kit.process().await;
    worker.tells("The dead-letter topic refuses").await;
    let waits = async || worker.partition(0).await["outage"].to_string().starts_with("\"cannot write dead letters: ");
    until("it waits", waits).await;
    // Several attempts: the first three alone would be more than a hundred letters.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(waits().await, "{:?}", worker.health().await);
    kit.set_topic(&kit.scope.dlq_topic, &[]).await;
    assert_eq!(kit.dead_letters(60).await.len(), 60);
    kit.apply("a", "1", "{}").await;
    assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 0);
    worker.tells_end_of("The dead-letter topic refuses").await;
    kit.end_at(worker, 61).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_does_not_fit_is_alone_in_being_sent_again() {
    let kit = Kit::new("unfit", 1).await;
    kit.set_topic(&kit.scope.dlq_topic, &[("max.message.bytes", "1500")]).await;
    // A letter is not cut below some 2,000 bytes.
    let key = noise(30_000);
    let keys: Vec<_> = (0..59).map(|n| format!("d{n}").into_bytes()).collect();
    let (before, behind) = keys.split_at(20);
    for key in before.iter().chain([&key]).chain(behind) {
        kit.put(Some(key), Some(b"x"), &[]).await;
    }
    let worker = kit.worker();
    let waits = async || partition(&worker, 0)["outage"].to_string().starts_with("\"cannot write dead letters: ");
    until("it waits", waits).await;
    // Several attempts.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(waits().await, "{:?}", worker.health.report());
    assert_eq!(kit.dead_letters(59).await.len(), 59, "each of the others once");
    kit.until_committed(0, 20).await;

    kit.set_topic(&kit.scope.dlq_topic, &[]).await;
    let letters = kit.dead_letters(60).await;
    assert_eq!(letters.len(), 60);
    assert!(letters.iter().all(|letter| header(letter, "dlq.truncated").is_none()));
    assert_eq!(letters.iter().filter(|letter| letter.key() == Some(&key)).count(), 1);
    kit.apply("a", "1", "{}").await;
    kit.end_at(worker, 61).await;
}
