//! An input topic that `setup` did not create: its records have the timestamps of their producers' clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::devices::queries::{Age, Expired};

use crate::prelude::*;

const MINUTE: i64 = 60_000;
/// One second after the epoch: the client treats 0 as no timestamp.
const OF_1970: i64 = 1_000;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A topic with CreateTime.
async fn kit(name: &str) -> Kit {
    let kit = Kit::new(name, 1).await;
    let any = ("message.timestamp.after.max.ms", "9223372036854775807");
    kit.set_topic(&kit.scope.input_topic, &[("message.timestamp.type", "CreateTime"), any]).await;
    kit
}

/// Writes an event with this timestamp, in milliseconds since 1970.
async fn stamped(kit: &Kit, device: &str, id: &str, payload: &str, millis: i64, more: &[(&str, &str)]) {
    kit.put_event((Some(0), Some(millis)), device, id, payload, more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_1970_keeps_its_row_and_counts_once() {
    let kit = kit("of_1970").await;
    let worker = kit.worker();
    stamped(&kit, "a", "1", "{}", OF_1970, &[]).await;
    kit.until("SELECT count(*) FROM events", 1).await;
    let month = Duration::from_secs(30 * 24 * 3600);
    let expired = queries::expire(&kit.store, Age::Written, month, 100).await.unwrap();
    let none = Expired::Rows { rows: 0, more: false, behind: Some(Duration::ZERO) };
    assert_eq!(expired, none, "it was written just now");
    stamped(&kit, "a", "1", "{}", OF_1970, &[]).await;
    stamped(&kit, "a", "2", "{}", OF_1970, &[]).await;
    kit.until("SELECT version FROM resources", 2).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE appended_at = '1970-01-01 00:00:01Z'").await, 2);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_makes_nothing_newer_than_it_is() {
    let kit = kit("ahead").await;
    kit.refuse("a").await;
    let worker = kit.worker();
    let began = now();
    // An event that fails, from a producer whose clock is ahead; then one that is applied.
    stamped(&kit, "a", "old", r#"{"n":1}"#, now() + 3 * MINUTE, &[]).await;
    stamped(&kit, "b", "far", "{}", i64::MAX / 2_000_000, &[]).await;
    let letters = kit.dead_letters(1).await;
    let at: i64 = header(&letters[0], "dlq.timestamp").unwrap().parse().unwrap();
    assert!((began..=now()).contains(&at), "when it was first seen: {at}");
    kit.no_longer_refuse("a").await;
    stamped(&kit, "a", "new", r#"{"n":2}"#, now(), &[]).await;
    kit.until("SELECT count(*) FROM events WHERE event_id IN ('new', 'far')", 2).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE appended_at > now()").await, 0);
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE accepted_at > now()").await, 0, "it has no other time");

    let (redriven, _) = kit.redrive(&[]).await.unwrap();
    assert_eq!(redriven.sent, 1);
    kit.until("SELECT count(*) FROM events WHERE event_id = 'old'", 1).await;
    assert_eq!(kit.outcome("old").await.as_deref(), Some("superseded"));
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE payload = '{"n":2}' AND version = 1"#).await, 1);
    worker.stop().await.unwrap();
}

/// While PostgreSQL keeps the event waiting: its timestamp does not say how long it has waited.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_as_old_as_it_is_known_to_be_there_whatever_its_time() {
    for (name, stamp) in [("age_1970", OF_1970), ("age_ahead", now() + 525_600 * MINUTE)] {
        let kit = kit(name).await;
        let worker = kit.process().await;
        stamped(&kit, "a", "1", "{}", stamp, &[]).await;
        kit.until("SELECT count(*) FROM events", 1).await;
        let began = Instant::now();
        let mut lock = kit.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE events IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        stamped(&kit, "a", "2", "{}", stamp, &[]).await;
        let age = async || worker.sample("watermark_age_seconds").await.unwrap_or(0.0);
        let mut told = 0.0;
        while told <= 0.0 {
            assert!(began.elapsed() < TEST_TIMEOUT, "{name}: {}", worker.metrics().await);
            told = age().await;
        }
        assert!(told <= began.elapsed().as_secs_f64(), "{name}: {told}");
        lock.rollback().await.unwrap();
        kit.until("SELECT count(*) FROM events", 2).await;
        until("it is behind no more", async || age().await == 0.0).await;
        worker.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_the_log_when_its_device_was_forgotten_has_no_effect_whatever_its_time() {
    let kit = kit("forgotten").await;
    let ahead = shared::runtime::rfc3339::format(OffsetDateTime::now_utc() + time::Duration::days(1));
    let accepted = [("ce_acceptedat", ahead.as_str())];
    let worker = kit.worker();
    stamped(&kit, "a", "1", r#"{"private":true}"#, now() + 1_440 * MINUTE, &accepted).await;
    kit.until("SELECT count(*) FROM events", 1).await;
    worker.stop().await.unwrap();
    // And one that is not consumed yet.
    stamped(&kit, "a", "2", r#"{"private":true}"#, now() + 1_440 * MINUTE, &accepted).await;
    kit.erase("a", &[]).await.unwrap();

    let why = kit.seek(OffsetDateTime::now_utc(), &[]).await.unwrap_err().to_string();
    assert!(why.starts_with("nothing was changed: the topic "), "{why}");
    assert!(why.contains("message.timestamp.type=CreateTime") && why.contains("`--from-beginning`"), "{why}");
    let (moved, _) = kit.seek_by(&["--from-beginning"], &[]).await.unwrap();
    assert_eq!((moved[0].from, moved[0].to), (Some(1), 0));
    let worker = kit.worker();
    stamped(&kit, "a", "3", r#"{"new":true}"#, now() + 1_440 * MINUTE, &accepted).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '3'", 1).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 1, "the old life is over");
    assert_eq!(kit.version("a").await, Some(1));
    worker.stop().await.unwrap();
}

/// The topic's setting is corrected, but the old records keep their timestamps.
#[tokio::test(flavor = "multi_thread")]
async fn no_offset_is_told_for_a_time_while_records_of_before_the_clock_was_mended_stand_before_it() {
    let kit = kit("mended").await;
    let worker = kit.worker();
    // Written now, with timestamps of two hours ago.
    for id in ["1", "2", "3"] {
        stamped(&kit, "a", id, "{}", now() - 120 * MINUTE, &[]).await;
    }
    kit.until("SELECT count(*) FROM events", 3).await;
    let said = kit.succeeds(&["setup"]).await;
    assert!(said.contains("changed a setting of the topic"), "{said}");
    worker.stop().await.unwrap();
    let before = kit.committed().await;
    let an_hour_ago = OffsetDateTime::now_utc() - time::Duration::hours(1);
    for more in [&[][..], &["--dry-run"]] {
        let refused = kit.seek(an_hour_ago, more).await.unwrap_err().to_string();
        assert!(refused.starts_with("nothing was changed: "), "{refused}");
        assert!(refused.contains("the last one at offset 2") && refused.contains("`--from-beginning`"), "{refused}");
    }
    assert_eq!(kit.committed().await, before);
    // A time before all of them skips nothing.
    let (moved, _) = kit.seek(OffsetDateTime::now_utc() - time::Duration::hours(3), &[]).await.unwrap();
    assert_eq!(moved[0].to, 0);

    // After a record with a broker timestamp, times are reliable again; a transaction marker may be in between.
    let append_time =
        async || !TopicSettings::of(&client(&kit.scope), &kit.scope.input_topic).await.unwrap().has_create_time();
    until("it is changed", append_time).await;
    let producer = kit.transactional("mended");
    producer.open("a", &["4"]);
    producer.commit();
    let worker = kit.worker();
    kit.until("SELECT count(*) FROM events", 4).await;
    kit.until_committed(0, 5).await;
    worker.stop().await.unwrap();
    let (moved, _) = kit.seek(OffsetDateTime::now_utc(), &[]).await.unwrap();
    assert_eq!((moved[0].from, moved[0].to), (Some(5), 5));
}

/// A record behind another producer's open transaction cannot be read yet, but it is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn what_waited_behind_an_open_transaction_when_its_device_was_forgotten_has_no_effect() {
    let kit = kit("forgotten_unstable").await;
    let ahead = shared::runtime::rfc3339::format(OffsetDateTime::now_utc() + time::Duration::days(1));
    let accepted = [("ce_acceptedat", ahead.as_str())];
    let producer = kit.transactional("open");
    producer.open("b", &["1"]);
    stamped(&kit, "a", "1", r#"{"private":true}"#, now() + 1_440 * MINUTE, &accepted).await;
    kit.erase("a", &[]).await.unwrap();
    producer.commit();
    let worker = kit.worker();
    stamped(&kit, "a", "2", r#"{"new":true}"#, now() + 1_440 * MINUTE, &accepted).await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '2'", 1).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE device_id = 'a'").await, 1, "the old life is over");
    assert_eq!((kit.version("a").await, kit.version("b").await), (Some(1), Some(1)));
    worker.stop().await.unwrap();
}
