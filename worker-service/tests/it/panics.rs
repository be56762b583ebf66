//! A defect that one record triggers ends neither the process nor the other partitions.

use worker_service::devices::Devices;

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_which_applying_panics_is_a_dead_letter_and_the_rest_is_applied() {
    let kit = Kit::new("panics", 1).await;
    let worker = kit.process().await;
    for device in ["bad", "other"] {
        kit.apply(device, "0", "{}").await;
    }
    // A time that PostgreSQL has and the `time` crate cannot represent: reading it panics. It is read because the state
    // is of another partition, where only times tell what is newer.
    kit.sql("UPDATE resources SET appended_at = 'infinity', partition = 7 WHERE id = 'bad'").await;
    kit.event("bad", "1", r#"{"text":"planted-7f3a"}"#).await;
    for n in 1..50 {
        kit.event("other", &n.to_string(), r#"{"text":"planted-7f3a"}"#).await;
    }
    kit.until("SELECT count(*) FROM events WHERE device_id = 'other'", 50).await;
    let letters = kit.dead_letters(1).await;
    let of = |name: &str| header(&letters[0], name).unwrap();
    assert_eq!((of("ce_id"), of("dlq.reason"), of("dlq.attempts")), ("1".into(), "panicked".into(), "4".into()));
    assert!(of("dlq.error").starts_with("panicked at ") && of("dlq.error").contains(".rs:"), "{}", of("dlq.error"));

    let panics = format!(r#"panics_total{{group="{}"}}"#, kit.scope.group);
    assert!(worker.sample(&panics).await.unwrap() >= 4.0);
    assert_eq!(worker.sample(r#"dead_letters_total{reason="panicked"}"#).await, Some(1.0));
    assert!(worker.partition(0).await["panics"].as_u64().unwrap() >= 4);
    assert_eq!(worker.status().await, "ready");
    assert_eq!(kit.list(&["--reason=panicked"]).await.len(), 1);

    // The cause is fixed; the event is redriven and applied.
    kit.sql("UPDATE resources SET appended_at = '2026-01-01' WHERE id = 'bad'").await;
    kit.redrive(&["--reason=panicked"]).await.unwrap();
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 2).await;
    let log = worker.service.log();
    assert!(log.contains(r#""message":"a panic was caught""#) && !log.contains("thread '"), "{log}");
    kit.end_at(worker, 53).await;
}

/// The worker's own decoding, with a defect.
struct DecodeOrPanic;

impl Alter for DecodeOrPanic {
    fn decode(envelope: &Envelope) -> Result<Option<Event>, Refusal> {
        assert!(envelope.user_id.as_deref() != Some("defect"), "a defect");
        Devices::decode(envelope)
    }
}

/// The worker's own reading, with a defect after the headers are read.
fn read_or_panic(message: &mut BorrowedMessage<'_>) -> Record {
    let record = Record::read(message);
    assert!(record.header("defect").is_none(), "a defect");
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_decoding_or_reading_panics_is_a_dead_letter_at_once() {
    let kit = Kit::new("decoding", 1).await;
    let worker = kit.altered_worker(DecodeOrPanic, Parts { read: read_or_panic, ..Parts::default() });
    kit.event_with("a", "1", "{}", &[("ce_userid", "defect")]).await;
    kit.event_with("a", "2", r#"{"n":2}"#, &[("defect", "1")]).await;
    kit.apply("a", "3", "{}").await;
    let letters = kit.dead_letters(2).await;
    let of = |nth: usize, name: &str| header(&letters[nth], name).unwrap_or_default();
    let told = |nth: usize| ["dlq.offset", "dlq.reason", "dlq.attempts", "ce_id"].map(|name| of(nth, name));
    assert_eq!(told(0), ["0", "panicked", "1", "1"]);
    // Without its headers, which could not be read.
    assert_eq!(told(1), ["1", "panicked", "1", ""]);
    assert_eq!((of(0, "dlq.truncated"), of(1, "dlq.truncated")), (String::new(), "7".to_owned()));
    assert_eq!((letters[1].key(), letters[1].payload()), (Some(&b"a"[..]), Some(&br#"{"n":2}"#[..])));
    assert_eq!(partition(&worker, 0)["panics"], 2);
    kit.end_at(worker, 3).await;
}

/// A panic after the commit says nothing about the event.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_written_is_applied_whatever_panics_behind_that() {
    let (kit, worker) = Kit::with_worker("behind_the_commit", 1).await;
    let outcome = [("group", kit.scope.group.as_str()), ("outcome", "applied")];
    panic_over("events_total", &outcome, 100);
    for n in 0..3 {
        kit.event("a", &n.to_string(), "{}").await;
        kit.until_committed(0, n + 1).await;
    }
    panic_over("events_total", &outcome, 0);
    let of = |name: &str| partition(&worker, 0)[name].clone();
    assert_eq!((kit.version("a").await, of("held_keys")), (Some(3), 0.into()));
    assert!(of("panics").as_u64().unwrap() >= 3, "it did happen");
    worker.stop().await.unwrap();
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

/// The same for a panic after a dead letter was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_sent_is_sent_once_whatever_panics_behind_that() {
    let (kit, worker) = Kit::with_worker("behind_the_letter", 1).await;
    let reason = [("group", kit.scope.group.as_str()), ("reason", "undecodable")];
    panic_over("dead_letters_total", &reason, 100);
    kit.put(Some(b"a"), Some(b"no event"), &[]).await;
    kit.event("a", "1", "{}").await;
    kit.until_committed(0, 2).await;
    assert!(panics_left("dead_letters_total") < 100, "it did happen");
    panic_over("dead_letters_total", &reason, 0);
    worker.stop().await.unwrap();
    assert_eq!((kit.dead_letters(1).await.len(), kit.version("a").await), (1, Some(1)));
}

/// A partition that no other test uses.
const PARTITION: i32 = 11;

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_own_code_panics_begins_anew_and_the_others_go_on() {
    let (kit, worker) = Kit::with_worker("begins_anew", PARTITION + 1).await;
    let report = async |partition: i32, numbers: std::ops::Range<i32>| {
        for n in numbers {
            kit.event_at(partition, &format!("d{partition}"), &n.to_string(), "{}").await;
        }
    };
    report(0, 0..5).await;
    report(PARTITION, 0..5).await;
    kit.until("SELECT count(*) FROM events", 10).await;
    kit.until_committed(PARTITION, 5).await;
    panic_over("held_keys", &[("group", kit.scope.group.as_str()), ("partition", &PARTITION.to_string())], 3);
    report(PARTITION, 5..20).await;
    let of = |name: &str| partition(&worker, PARTITION)[name].clone();
    let restarts = async || of("outage").as_str().is_some_and(|why| why.contains("restarting after"));
    until("it says that it restarts", restarts).await;
    assert!(!worker.health.report().0, "not ready meanwhile");
    report(0, 5..20).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'd0'", 20).await;
    // The third panic is reported with its offset.
    until("it says that it panics again and again", async || of("panics_again").is_string()).await;
    let (ready, report) = worker.health.report();
    assert_eq!((ready, &report["status"]), (false, &"a partition's code panics repeatedly".into()));
    let why = of("panics_again");
    assert!(why.as_str().is_some_and(|why| why.contains(" offset 5 ") && why.contains(", 3 times now")), "{why}");
    kit.until("SELECT count(*) FROM events WHERE device_id = 'd11'", 20).await;
    assert_eq!((kit.version("d11").await, panics_left("held_keys")), (Some(20), 0));
    until("it is ready again", async || worker.health.report().0).await;
    assert_eq!((of("panics"), of("panics_again")), (3.into(), Value::Null));
    worker.stop().await.unwrap();
    assert_eq!((kit.committed().await[&PARTITION], kit.dead_letters(0).await.len()), (20, 0));
}

/// A variable of tokio; an invalid value makes tokio panic.
#[test]
fn a_number_of_threads_that_is_none_is_refused_by_name() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_worker-service"));
    let output = command.arg("setup").env_clear().env("TOKIO_WORKER_THREADS", "planted").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said, "error: TOKIO_WORKER_THREADS must be a number from 1 to 1024, or not set\n");
}
