//! A partition that stands still for no known reason is detected, reported and restarted; and the broker's committed
//! offset is compared with the stored one.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::prelude::*;

const REFUSED: [RDKafkaRespErr; 1_000] = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 1_000];

fn start(kit: &Kit, parts: Parts) -> Worker {
    kit.worker_with(Parts { stall_timeout: Duration::from_secs(2), ..parts })
}

/// Kafka reports records, but returns none.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_gets_no_records_is_found_and_begins_anew() {
    let (kit, mock) = Kit::on_mock("stands").await;
    kit.event("a", "1", "{}").await;
    let worker = start(&kit, Parts::default());
    kit.until("SELECT count(*) FROM events", 1).await;
    until("it is ready", async || worker.health.report().0).await;
    mock.request_errors(RDKafkaApiKey::Fetch, &REFUSED);
    kit.event("a", "2", "{}").await;
    InProcess(&worker).tells("A partition stands still").await;
    until("and again", async || kit.sample("partition_stalls_total") >= Some(2.0)).await;
    mock.clear_request_errors(RDKafkaApiKey::Fetch);
    kit.until("SELECT count(*) FROM events", 2).await;
    InProcess(&worker).tells_end_of("A partition stands still").await;
    worker.stop().await.unwrap();
    assert_eq!((kit.version("a").await, kit.committed().await[&0]), (Some(2), 2));
}

/// The client asks for the committed offsets once, is refused, and never fetches the partitions.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_the_client_does_not_fetch_are_assigned_anew() {
    let (kit, mock) = Kit::on_mock("unfetched").await;
    kit.event("a", "1", "{}").await;
    mock.request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 4]);
    let worker = start(&kit, Parts::default());
    kit.until("SELECT count(*) FROM events", 1).await;
    assert!(kit.sample("partition_stalls_total") >= Some(1.0), "the client has recovered by itself");
    until("it is ready", async || worker.health.report().0).await;
    kit.event("a", "2", "{}").await;
    kit.until("SELECT count(*) FROM events", 2).await;
    kit.end_at(worker, 2).await;
}

/// A held device does not explain why all others stand still.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_stands_still_beside_a_device_that_is_held_is_found() {
    let (kit, mock) = Kit::on_mock("stands-beside").await;
    kit.refuse_with("bad", "42501").await;
    let worker = start(&kit, Parts::default());
    kit.event("bad", "1", "{}").await;
    let mut sent = 0;
    // It was held for several times as long as a partition may stand still.
    let was_held_long = |tries: Vec<_>| tries.windows(2).any(|two| two[1] - two[0] > 2 * 2_000);
    while partition(&worker, 0)["held_alone_keys"] != 1 || !was_held_long(kit.tries().await) {
        sent += 1;
        assert!(sent < 500, "{:?}", worker.health.report());
        kit.event("good", &sent.to_string(), "{}").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    kit.until("SELECT count(*) FROM events", sent).await;
    let stalls = || kit.sample("partition_stalls_total").unwrap();
    let before = stalls();
    assert!(worker.health.report().0 && partition(&worker, 0)["stalled_seconds"].is_null());

    mock.request_errors(RDKafkaApiKey::Fetch, &REFUSED);
    kit.event("good", "last", "{}").await;
    until("it stands still", async || !partition(&worker, 0)["stalled_seconds"].is_null()).await;
    until("it begins anew", async || stalls() > before).await;
    mock.clear_request_errors(RDKafkaApiKey::Fetch);
    kit.no_longer_refuse("bad").await;
    kit.until("SELECT count(*) FROM events", sent + 2).await;
    until("it is ready again", async || worker.health.report().0).await;
    kit.end_at(worker, sent + 2).await;
}

/// Reading such a record blocks until its flag is set: one for each test.
static RELEASED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// The worker's own reading, which blocks for some records.
fn hang_or_read(message: &mut BorrowedMessage<'_>) -> Record {
    let record = Record::read(message);
    if let Some(of) = record.header("hang") {
        let of = usize::from(of == b"1");
        while !RELEASED[of].load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_runner_that_comes_back_begins_anew_and_each_event_has_one_effect() {
    let kit = Kit::new("comes_back", 2).await;
    let worker = start(&kit, Parts { read: hang_or_read, ..Parts::default() });
    kit.event_at(0, "a", "1", "{}").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    kit.put_event((Some(0), None), "a", "2", "{}", &[("hang", "0")]).await;
    kit.event_at(0, "a", "3", "{}").await;
    until("it stands still", async || !partition(&worker, 0)["stalled_seconds"].is_null()).await;
    kit.event_at(1, "b", "1", "{}").await;
    kit.until("SELECT count(*) FROM events", 2).await;
    RELEASED[0].store(true, Ordering::SeqCst);
    kit.until("SELECT count(*) FROM events", 4).await;
    until("it is ready again", async || worker.health.report().0).await;
    worker.stop().await.unwrap();
    assert_eq!((kit.version("a").await, kit.committed().await[&0]), (Some(3), 3));
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome <> 'applied'").await, 0);
}

/// It blocks a thread, and may do anything when it continues: only another process helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_runner_that_does_not_react_ends_the_process() {
    let kit = Kit::new("hangs_for_good", 1).await;
    let mut worker = start(&kit, Parts { read: hang_or_read, ..Parts::default() });
    kit.put_event((Some(0), None), "a", "1", "{}", &[("hang", "1")]).await;
    let ended = tokio::time::timeout(TEST_TIMEOUT, worker.ended()).await.unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "a partition's runner no longer responds");
    RELEASED[1].store(true, Ordering::SeqCst);
    let successor = kit.worker();
    // In this process, the blocked runner may still apply it when it continues, but it commits nothing.
    kit.until_committed(0, 1).await;
    successor.stop().await.unwrap();
    assert_eq!((kit.count("SELECT count(*) FROM events").await, kit.version("a").await), (1, Some(1)));
}

/// The client does not commit an offset again by itself, even if the broker has lost it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_does_not_hold_any_more_is_told_and_committed_again() {
    let kit = Kit::new("commits", 1).await;
    let worker = kit.worker_with(Parts { compare_interval: Duration::from_secs(1), ..Parts::default() });
    kit.events("a", 1..=5).await;
    kit.until_committed(0, 5).await;
    kit.commit_by_transaction(0, 2);
    assert_eq!(kit.committed().await[&0], 2);
    let behind = || kit.sample("commit_behind_records");
    until("it is told", async || behind() == Some(3.0)).await;
    kit.until_committed(0, 5).await;
    until("it is over", async || behind() == Some(0.0)).await;
    worker.stop().await.unwrap();
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 5);
}
