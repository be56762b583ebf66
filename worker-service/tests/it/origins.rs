//! `origin.` headers that `dlq redrive` did not write: they hold up no event that comes later.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_first_place_holds_up_no_later_event() {
    let (kit, worker) = Kit::with_worker("forged", 2).await;
    let topic = kit.scope.input_topic.clone();
    let now = (time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).to_string();
    let (partition, _) = kit.event("a", "1", r#"{"n":1}"#).await;
    // In its own partition, where no record can have stood yet.
    let own = [
        ("origin.topic", topic),
        ("origin.partition", partition.to_string()),
        ("origin.offset", i64::MAX.to_string()),
        ("origin.timestamp", now),
    ];
    kit.event_with("a", "forged", r#"{"n":"forged"}"#, &own.each_ref().map(|(name, value)| (*name, value.as_str())))
        .await;
    kit.event("a", "2", r#"{"n":2}"#).await;
    kit.event("a", "3", r#"{"n":3}"#).await;
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", 3).await;
    let letters = kit.dead_letters(1).await;
    assert_eq!(header(&letters[0], "dlq.reason").unwrap(), "undecodable");
    let error = header(&letters[0], "dlq.error").unwrap();
    assert!(error.starts_with("origin.offset is not before the record's own offset"), "{error}");
    // In another partition, of which nothing is known here.
    let of_other = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    kit.put_event((Some(1 - partition), None), "a", "elsewhere", r#"{"n":"elsewhere"}"#, &of_other).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = 'elsewhere'", 1).await;
    kit.event("a", "4", r#"{"n":4}"#).await;
    kit.event("a", "5", r#"{"n":5}"#).await;
    kit.until("SELECT count(*) FROM events WHERE event_id IN ('4', '5') AND outcome = 'applied'", 2).await;
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":5}'"#).await, 1);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_whole_first_place_is_let_past_the_ration() {
    let (kit, worker) = Kit::with_worker("unrationed", 1).await;
    let half: [(&str, Option<&[u8]>); 2] = [("origin.topic", Some(b"t")), ("origin.offset", Some(b"-1"))];
    kit.poison(150, &half).await;
    let is_paused = async || partition(&worker, 0)["paused"] == true;
    until("its partition is paused", is_paused).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100);
    worker.stop().await.unwrap();
}
