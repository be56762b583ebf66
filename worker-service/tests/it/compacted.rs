//! Records that compaction removed are reported as data loss.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_took_away_is_lost_and_told() {
    let (kit, worker) = Kit::with_process("compacted", 1).await;
    kit.apply("a", "0", "{}").await;
    kit.until_committed(0, 1).await;
    worker.end().await;

    let compact = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("max.compaction.lag.ms", "100"),
        ("segment.ms", "100"),
        ("delete.retention.ms", "100"),
    ];
    kit.set_topic(&kit.scope.input_topic, &compact).await;
    // Twelve accepted events of two devices, and events of a third one that roll the segment, because the active
    // segment is not compacted.
    kit.events("a", 1..=6).await;
    kit.events("b", 1..=6).await;
    until("they are compacted", async || {
        kit.event("roll", "1", "{}").await;
        kit.offsets().await.iter().filter(|offset| **offset <= 12).count() == 2
    })
    .await;

    // The operator follows the advice of `setup` before a worker has read further.
    let said = kit.fails(&["setup"], "cleanup.policy=compact, but must be ").await;
    assert!(said.contains("let the workers read to the end first"), "{said}");
    kit.set_topic(&kit.scope.input_topic, &[("max.message.bytes", "1048576")]).await;
    until("setup is content", async || kit.command(&["setup"]).await.status == 0).await;

    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '6'", 2).await;
    let (left, end) = (kit.offsets().await, kit.log_end(0).await);
    kit.until_committed(0, end).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE device_id IN ('a', 'b')").await, 3, "of thirteen");
    let lost = worker.sample("records_lost_total").await.unwrap() as i64;
    let behind = i64::try_from(left.iter().filter(|offset| **offset >= 1).count()).unwrap();
    // Ten of the twelve, and some of those that rolled a segment.
    assert!(lost >= 10 && lost == end - 1 - behind, "{lost} of {end}");
    worker.tells("Records are missing within the log").await;
    worker.end().await;
}

/// A compacted topic refuses records without a key; their dead letters are written nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_without_a_key_go_to_a_compacted_topic() {
    let kit = Kit::new("compacted_letters", 1).await;
    kit.set_topic(&kit.scope.dlq_topic, &[("cleanup.policy", "compact")]).await;
    let keyless = WireRecord { value: Some(b"{}".to_vec()), ..WireRecord::default() };
    kit.write(&kit.scope.input_topic, &[keyless]).await;
    kit.event("a", "1", "{}").await;
    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events", 1).await;
    let letters = kit.dead_letters(1).await;
    assert_eq!((letters[0].key(), letters[0].payload()), (Some(&b""[..]), Some(&b"{}"[..])));
    assert_eq!(header(&letters[0], "dlq.key_absent").as_deref(), Some("true"));
    worker.end().await;
    // The redriven record has no key again.
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.sent, summary.failed), (1, 0), "{lines:?}");
    let sent = kit.records(3).await.remove(2);
    assert_eq!((sent.key(), sent.payload()), (None, Some(&b"{}"[..])));
}
