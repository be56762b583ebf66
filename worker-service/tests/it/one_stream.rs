//! Two handlers of one stream, each with its group: an event takes effect in the handler of its type, and a record that
//! is not an event has one dead letter, the owner's.

use crate::malformed::{no_key_of, put};
use crate::prelude::*;

/// The group, the reason and the event of each letter.
async fn letters(kit: &Kit, at_least: usize) -> Vec<String> {
    let all = kit.dead_letters(at_least).await;
    let told = |letter| ["dlq.group", "dlq.reason", "ce_id"].map(|name| header(letter, name).unwrap_or_default());
    let mut all: Vec<_> = all.iter().map(|letter| told(letter).join(" ").replace(&kit.scope.group, "ones")).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_its_handlers_and_what_is_none_has_one_dead_letter() {
    let kit = Kit::new("one_stream", 1).await;
    let worker = kit.worker_beside(&["ones", "twos"], &Trouble::default(), Parts::default()).await;
    let (ones, twos) = (kit.beside("ones").await, kit.beside("twos").await);
    ones.event_of(ONE, "a", "1", "{}").await;
    ones.event_of(TWO, "a", "2", "{}").await;
    ones.event_of("test.three.v1", "a", "3", "{}").await;
    // The owner does not process this type, but reports that the value is not a valid event.
    ones.event_of(TWO, "a", "4", "[]").await;
    ones.put(Some(b"a"), Some(b"no event"), &[]).await;
    ones.event_of(TWO, "b", "5", r#"{"do":"poison"}"#).await;
    ones.event_of(TWO, "c", "6", r#"{"do":"panic early"}"#).await;
    let all_done = async |end| {
        ones.until_committed(0, end).await;
        twos.until_committed(0, end).await;
    };
    all_done(7).await;
    let of_twos = ["panicked 6", "rejected 5"].map(|letter| format!("{} {letter}", twos.scope.group));
    let mut expected = vec!["ones undecodable ", "ones undecodable 4", "ones unknown_type 3", &of_twos[0], &of_twos[1]];
    expected.sort_unstable();
    assert_eq!(letters(&ones, 5).await, expected);
    let rows = async |rows: &'static str| kit.count(rows).await;
    assert_eq!(rows("SELECT count(*) FROM ones WHERE event_id = '1'").await, 1);
    assert_eq!(rows("SELECT count(*) FROM twos WHERE event_id = '2'").await, 1);
    assert_eq!(rows("SELECT count(*) FROM ones, twos").await, 1, "and no other row");
    // Each skips the other's types; the one that does not own the stream also skips records that are not events.
    let passed_over = [&ones, &twos].map(|of| of.sample("records_passed_over_total"));
    assert_eq!(passed_over, [Some(3.0), Some(4.0)]);

    // Records that no group had accepted are redriven for all groups, the other ones only for their own.
    assert_eq!(ones.redrive_of("ones", &twos, &["--reason=undecodable"]).await.sent, 2);
    assert_eq!(twos.redrive_of("twos", &ones, &[]).await.sent, 2);
    let redriven = ones.records(11).await.split_off(7);
    let groups: Vec<_> = redriven.iter().map(|record| header(record, "redrive.group").unwrap()).collect();
    let of_twos_group = twos.scope.group.as_str();
    assert_eq!(groups, ["", "", of_twos_group, of_twos_group]);
    all_done(11).await;
    let once_more: Vec<_> = expected.iter().filter(|letter| !letter.contains("unknown_type")).copied().collect();
    expected.extend(once_more);
    expected.sort_unstable();
    assert_eq!(letters(&ones, 9).await, expected, "once more of each that was redriven");
    worker.stop().await.unwrap();

    let purged = twos.purge_of("twos", &ones, &[]).await;
    assert!(purged.behind > 0 && purged.deleted + purged.behind == 4, "the other's stay: {purged:?}");
    assert_eq!(twos.purge_of("twos", &ones, &["--all-handlers"]).await.deleted, 9 - purged.deleted);
}

/// Nor does a handler that does not own the stream wait for the owner, however many such records there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_what_is_no_event_is_passed_over_by_itself() {
    let kit = Kit::new("passed_over", 1).await;
    let (ones, twos) = (kit.beside("ones").await, kit.beside("twos").await);
    // Of a type that the stream does not define: the owner would dead-letter them.
    ones.flood(10_000, "{}", |n| format!("d{}", n % 100)).await;
    assert_eq!(put(&ones, &ones.scope.input_topic, 0, vec![no_key_of(-2)]).await, 10_000);
    ones.event_of(TWO, "a", "last", "{}").await;
    let worker = kit.worker_beside(&["twos"], &Trouble::default(), Parts::default()).await;
    kit.until("SELECT count(*) FROM twos", 1).await;
    twos.until_committed(0, 10_002).await;
    worker.stop().await.unwrap();
    assert_eq!(ones.dead_letters(0).await.len(), 0);
}
