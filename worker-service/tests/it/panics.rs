//! A defect that one record meets ends neither the process nor the other partitions.

use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::Value;
use shared::topic::{Decoded, Record, Refusal, decode};
use worker_service::worker::{Parts, Worker};

use crate::kit::{Kit, header, run_config};

async fn ready(kit: &Kit, worker: &crate::kit::Process) -> Value {
    let found = async || {
        let page = worker.page("/health/ready").await;
        page.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
    };
    kit.until_it("it answers", async || found().await.is_some()).await;
    found().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_which_applying_panics_is_a_dead_letter_and_the_rest_is_applied() {
    let kit = Kit::new("panics", 1).await;
    for device in ["bad", "other"] {
        kit.event(device, "0", "{}").await;
    }
    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events", 2).await;
    // A time that PostgreSQL has and `time` cannot hold: reading it panics.
    let broken = "UPDATE resources SET appended_at = 'infinity' WHERE id = 'bad'";
    sqlx::raw_sql(broken).execute(&kit.pool).await.unwrap();
    let mut events = vec![("bad", "1".to_owned())];
    events.extend((0..50).map(|n| ("other", n.to_string())).skip(1));
    for (device, id) in &events {
        kit.event(device, id, r#"{"text":"planted-7f3a"}"#).await;
    }
    kit.until("SELECT count(*) FROM events WHERE device_id = 'other'", 50).await;
    let letters = kit.dead_letters(1).await;
    let of = |name: &str| header(&letters[0], name).unwrap();
    assert_eq!((of("ce_id"), of("dlq.reason"), of("dlq.attempts")), ("1".into(), "panicked".into(), "4".into()));
    assert!(of("dlq.error").starts_with("panicked at ") && of("dlq.error").contains(".rs:"), "{}", of("dlq.error"));

    let page = worker.page("/metrics").await;
    let metric = |name: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(metric("panics_total ") >= 4.0);
    assert!((metric(r#"dead_letters_total{reason="panicked"}"#) - 1.0).abs() < 0.1);
    let report = ready(&kit, &worker).await;
    assert!(report["partitions"]["0"]["panics"].as_u64().unwrap() >= 4, "{report}");
    assert_eq!(report["status"], "ready");
    assert_eq!(kit.list(&["--reason=panicked"]).await.len(), 1);

    // What it was is mended; the event goes back, and counts.
    let mended = "UPDATE resources SET appended_at = '2026-01-01' WHERE id = 'bad'";
    sqlx::raw_sql(mended).execute(&kit.pool).await.unwrap();
    kit.redrive(&["--reason=panicked"]).await.unwrap();
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 2).await;
    let log = worker.service.log();
    assert!(log.contains(r#""message":"a panic was caught""#) && !log.contains("thread '"), "{log}");
    worker.end().await;
    assert_eq!(kit.committed().await[&0], 53);
}

/// As the worker's own, with a defect.
fn decode_or_panic(record: &Record) -> Result<Decoded, Refusal> {
    assert!(record.header("defect").is_none(), "a defect");
    decode(record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_decoding_panics_is_a_dead_letter_at_once() {
    let kit = Kit::new("decoding", 1).await;
    let worker =
        Worker::start_with(&run_config(&kit.scope), Parts { decode: decode_or_panic, ..Parts::default() }).unwrap();
    kit.event_with("a", "1", "{}", &[("defect", "1")]).await;
    kit.event("a", "2", "{}").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    let letters = kit.dead_letters(1).await;
    let of = |name: &str| header(&letters[0], name).unwrap();
    assert_eq!((of("ce_id"), of("dlq.reason"), of("dlq.attempts")), ("1".into(), "panicked".into(), "1".into()));
    assert_eq!(worker.health.report().1["partitions"]["0"]["panics"], 1);
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await[&0], 2);
}

/// A recorder of metrics that panics so many times over the gauge of a partition that no other test has.
struct Trap;

const PARTITION: i32 = 11;
static PANICS_LEFT: AtomicUsize = AtomicUsize::new(0);

impl Recorder for Trap {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let is_it = key.labels().any(|label| label.key() == "partition" && label.value() == PARTITION.to_string());
        let take = |left: usize| left.checked_sub(1);
        if key.name() == "held_devices" && is_it {
            let before = PANICS_LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
            assert!(before.is_err(), "a defect");
        }
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_own_code_panics_begins_anew_and_the_others_go_on() {
    metrics::set_global_recorder(Trap).unwrap();
    let kit = Kit::new("begins_anew", PARTITION + 1).await;
    let worker = kit.worker();
    for partition in [0, PARTITION] {
        for n in 0..5 {
            kit.event_at(partition, &format!("d{partition}"), &n.to_string(), "{}").await;
        }
    }
    kit.until("SELECT count(*) FROM events", 10).await;
    PANICS_LEFT.store(2, Ordering::SeqCst);
    for n in 5..20 {
        kit.event_at(PARTITION, &format!("d{PARTITION}"), &n.to_string(), "{}").await;
    }
    let of = |name: &str| worker.health.report().1["partitions"][PARTITION.to_string()][name].clone();
    kit.until_it("it says that it begins anew", async || {
        of("outage").as_str().is_some_and(|why| why.contains("it begins anew after"))
    })
    .await;
    assert!(!worker.health.report().0, "not ready meanwhile");
    for n in 5..20 {
        kit.event_at(0, "d0", &n.to_string(), "{}").await;
    }
    kit.until("SELECT count(*) FROM events WHERE device_id = 'd0'", 20).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'd11'", 20).await;
    assert_eq!((kit.version("d11").await, PANICS_LEFT.load(Ordering::SeqCst)), (Some(20), 0));
    kit.until_it("it is ready again", async || worker.health.report().0).await;
    assert_eq!(of("panics"), 2);
    worker.stop().await.unwrap();
    assert_eq!((kit.committed().await[&PARTITION], kit.dead_letters(0).await.len()), (20, 0));
}

/// A variable of tokio's own, at which tokio panics.
#[test]
fn a_number_of_threads_that_is_none_is_refused_by_name() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_worker-service"));
    let output = command.arg("setup").env_clear().env("TOKIO_WORKER_THREADS", "planted").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said, "error: TOKIO_WORKER_THREADS must be a number from 1 to 1024, or not set\n");
}
