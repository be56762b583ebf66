//! Records that brokers accept and that librdkafka skips silently, because a key or a value has the length -2. Each
//! becomes a dead letter with its position, and every reader continues behind it.

use devstack::wire::{Claims, produce_claiming};

use crate::prelude::*;

pub(crate) fn sound(record: WireRecord) -> (WireRecord, Claims) {
    (record, Claims::default())
}

/// No key, with this invalid length.
pub(crate) fn no_key_of(length: i64) -> (WireRecord, Claims) {
    (WireRecord { key: None, ..wire_event("m", "m") }, Claims { key_length: Some(length), ..Claims::default() })
}

/// No value, with this invalid length.
pub(crate) fn no_value_of(length: i64) -> (WireRecord, Claims) {
    (WireRecord { value: None, ..wire_event("m", "m") }, Claims { value_length: Some(length), ..Claims::default() })
}

/// Writes one batch; returns its first offset.
pub(crate) async fn put(kit: &Kit, topic: &str, partition: i32, records: Vec<(WireRecord, Claims)>) -> i64 {
    let (broker, topic) = (kit.scope.endpoints.kafka_brokers.clone(), topic.to_owned());
    blocking(move || produce_claiming(&broker, &topic, partition, &records)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_a_dead_letter_and_every_record_around_it_is_applied() {
    let kit = Kit::new("malformed", 2).await;
    let input = &kit.scope.input_topic;
    let among = vec![
        sound(wire_event("a", "1")),
        no_key_of(-2),
        sound(wire_event("a", "2")),
        no_value_of(-2),
        no_value_of(-77),
        no_key_of(i64::from(i32::MIN)),
        sound(wire_event("a", "3")),
    ];
    assert_eq!(put(&kit, input, 0, among).await, 0);
    // A batch of only such records, then a batch of one.
    assert_eq!(put(&kit, input, 0, vec![no_key_of(-2); 3]).await, 7);
    assert_eq!(put(&kit, input, 0, vec![no_value_of(-2)]).await, 10);
    kit.event_at(0, "a", "4", "{}").await;
    // The last record and the first one, with no offset committed.
    assert_eq!(put(&kit, input, 1, vec![no_key_of(-2)]).await, 0);
    kit.event_at(1, "b", "1", "{}").await;
    assert_eq!(put(&kit, input, 1, vec![no_key_of(-2)]).await, 2);

    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", 5).await;
    let letters = kit.dead_letters(10).await;
    let mut places: Vec<[i64; 2]> = letters
        .iter()
        .map(|letter| ["dlq.partition", "dlq.offset"].map(|name| header(letter, name).unwrap().parse().unwrap()))
        .collect();
    places.sort_unstable();
    let expected: [[i64; 2]; 10] = [[0, 1], [0, 3], [0, 4], [0, 5], [0, 7], [0, 8], [0, 9], [0, 10], [1, 0], [1, 2]];
    assert_eq!(places, expected);
    for letter in &letters {
        assert_eq!((header(letter, "dlq.reason").unwrap().as_str(), letter.payload()), ("unreadable", None));
        assert_eq!(header(letter, "dlq.topic").as_ref(), Some(input));
    }
    until("all is committed", async || kit.committed().await.values().eq([&12, &3])).await;
    until("it is ready", async || worker.ready().await.0 == 200).await;
    worker.tells("A record is malformed").await;
    for (series, expected) in [(r#"dead_letters_total{reason="unreadable"}"#, 10.0), ("records_lost_total", 0.0)] {
        assert_eq!(worker.sample(series).await, Some(expected), "{series}");
    }
    let log = worker.end_and_log().await;
    for never in ["stands still", "made anew", "data loss", "records may be lost"] {
        assert!(!log.contains(never), "{never}: {log}");
    }
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.refused, summary.sent, summary.failed), (10, 0, 0), "{lines:?}");
    let why = lines[0]["refused"]["why"].as_str().unwrap();
    assert!(why.starts_with("its record could not be read"), "{why}");
}

/// Only its position is left: the partition does not continue before that is in a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_its_dead_letter() {
    let kit = Kit::new("malformed_waits", 1).await;
    put(&kit, &kit.scope.input_topic, 0, vec![no_key_of(-2), sound(wire_event("a", "1"))]).await;
    let dlq = &kit.scope.dlq_topic;
    kit.set_topic(dlq, &[("max.message.bytes", "100")]).await;
    let worker = kit.process().await;
    let unreadable = async || worker.partition(0).await["unreadable"].clone();
    until("it is named", async || !unreadable().await.is_null()).await;
    let told = unreadable().await;
    assert_eq!(told["offset"], 0);
    assert!(told["error"].as_str().unwrap().starts_with("cannot write its dead letter: "), "{told}");
    assert_eq!(worker.ready().await.0, 503);
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 0);
    kit.set_topic(dlq, &[]).await;
    kit.until("SELECT count(*) FROM events", 1).await;
    until("it is ready", async || worker.ready().await.0 == 200).await;
    kit.dead_letters(1).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_around_it_are_listed_shown_and_sent() {
    let kit = Kit::new("malformed_letters", 1).await;
    let dlq = &kit.scope.dlq_topic;
    kit.letter("a", "1", 0, &[]).await;
    assert_eq!(put(&kit, dlq, 0, vec![no_key_of(-2), no_value_of(-2)]).await, 1);
    kit.letter("b", "1", 1, &[]).await;
    assert_eq!(put(&kit, dlq, 0, vec![no_key_of(-2)]).await, 4);

    let said = kit.command(&["dlq", "list"]).await;
    assert_eq!((said.status, said.out.lines().count()), (0, 2), "{said:?}");
    let told = told(&said.error, "skipping records that cannot be read");
    let told: Vec<_> = told.iter().map(|line| (&line["from_offset"], &line["offsets"])).collect();
    assert_eq!(told, [(&json!(1), &json!(2)), (&json!(4), &json!(1))]);
    let refused = kit.show(0, 2).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("{dlq} [0] offset 2 cannot be read: ")), "{refused}");
    assert!(kit.show(0, 3).await.is_ok());
    let (summary, lines) = kit.redrive(&[]).await.unwrap();
    assert_eq!((summary.sent, summary.refused, summary.failed), (2, 0, 0), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_goes_past_it_and_back_over_it() {
    let kit = Kit::new("malformed_seek", 1).await;
    let input = &kit.scope.input_topic;
    kit.event("a", "1", "{}").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between = OffsetDateTime::now_utc();
    tokio::time::sleep(Duration::from_millis(50)).await;
    put(&kit, input, 0, vec![no_key_of(-2); 2]).await;
    let past = ["seek", "--partition=0", "--past-unreadable"];
    kit.fails(&past, "can be read where it stands, at 0").await;
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 1).await;
    kit.until_committed(0, 1).await;
    // Before the worker has skipped the others itself.
    worker.stop().await.unwrap();
    if kit.committed().await[&0] == 1 {
        let said = kit.succeeds(&past).await;
        assert!(said.starts_with(&format!("{input} [0] 1 -> 3\n2 offsets from 1 to 2 cannot be read: ")), "{said}");
    }
    assert_eq!(kit.committed().await[&0], 3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let time = OffsetDateTime::now_utc();
    kit.event("a", "2", "{}").await;
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 2).await;
    worker.stop().await.unwrap();
    // The record before that time has no readable time.
    let (moved, said) = kit.seek(time, &[]).await.unwrap();
    assert_eq!((moved[0].from, moved[0].to), (Some(4), 3), "{said}");
    // The record at that time cannot be read.
    let (moved, said) = kit.seek(between, &[]).await.unwrap();
    assert_eq!((moved[0].from, moved[0].to), (Some(3), 1), "{said}");
}

fn at(device: &str, id: &str, delta: i64) -> (WireRecord, Claims) {
    (wire_event(device, id), Claims { offset_delta: Some(delta), ..Claims::default() })
}

/// Neither a loss nor a recreated topic was reported.
async fn assert_calm(worker: Process) {
    worker.tells("A batch's offsets are not consecutive").await;
    assert_eq!(worker.sample("records_lost_total").await, Some(0.0));
    let log = worker.end_and_log().await;
    for never in ["made anew", "data loss", "records may be lost"] {
        assert!(!log.contains(never), "{never}: {log}");
    }
}

/// Brokers give a batch as many offsets as it has records, but keep the offset delta of each record.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_a_batch_has_twice_are_no_loss_and_no_new_topic() {
    let kit = Kit::new("twice", 1).await;
    let input = &kit.scope.input_topic;
    put(&kit, input, 0, vec![at("a", "1", 0), at("a", "2", 0)]).await;
    kit.event("a", "3", "{}").await;
    put(&kit, input, 0, vec![at("a", "4", 0), at("a", "5", 0), at("a", "6", 1), at("a", "7", 1), at("a", "8", 4)])
        .await;
    kit.event("a", "9", "{}").await;
    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events", 9).await;
    kit.until_committed(0, 9).await;
    assert_calm(worker).await;
}

/// The client trusts that offset, and would restart at the partition's beginning until the log reaches it.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_offset_than_its_batch_has_holds_up_nothing() {
    let kit = Kit::new("jump", 1).await;
    let input = &kit.scope.input_topic;
    kit.event("a", "1", "{}").await;
    // Another batch follows in the same fetch response.
    put(&kit, input, 0, vec![at("b", "1", 0), at("b", "2", 5)]).await;
    kit.event("a", "2", "{}").await;
    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events WHERE outcome = 'applied'", 4).await;
    // Alone in its fetch response.
    put(&kit, input, 0, vec![at("b", "3", 0), at("b", "4", 1_000_000)]).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '4'", 1).await;
    kit.until_committed(0, 6).await;
    kit.events("a", 3..=5).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'a' AND outcome = 'applied'", 5).await;
    kit.until_committed(0, 9).await;
    assert_calm(worker).await;
}
