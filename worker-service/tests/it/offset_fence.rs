//! Fences in a topic, asked of a real Kafka.

use worker_service::config::RunConfig;
use worker_service::consumer::offset_fence::{FenceState, OffsetFences, Offsets};

use crate::prelude::*;

/// Fences in the topic of the devices' handler.
fn fences(kit: &Kit) -> OffsetFences {
    let RunConfig { kafka, sources, .. } = run_config(&kit.scope);
    OffsetFences::open(&shared::kafka::client(&kafka).unwrap(), &sources.0[0]).unwrap()
}

async fn until_passed(fences: &OffsetFences, at: &Offsets) {
    until("the fence is passed", async || at.fence().state(&fences.offsets().await.unwrap()) == FenceState::Passed)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_passed_when_the_group_has_committed_everything_before_it() {
    let kit = Kit::new("fence", 2).await;
    let fences = fences(&kit);
    let empty = fences.offsets().await.unwrap();
    assert_eq!(empty.fence().state(&empty), FenceState::Passed, "there is no record, and no commit");
    assert_eq!(kit.committed().await, BTreeMap::from([(0, 0), (1, 0)]));

    kit.event_at(0, "a", "1", "{}").await;
    let one = fences.offsets().await.unwrap();
    assert_eq!(one.fence().state(&one), FenceState::Waiting, "there is a record, and no commit");
    assert_eq!(empty.fence().state(&one), FenceState::Passed, "it came later");
    let worker = kit.worker();
    until_passed(&fences, &one).await;
    assert_eq!(kit.version("a").await, Some(1));

    // While the records of another producer's transaction cannot be read, the group does not pass them.
    let transaction = kit.transactional("fence");
    transaction.open("t", &["1", "2"]);
    let open = fences.offsets().await.unwrap();
    kit.event_at(1, "b", "1", "{}").await;
    kit.until_committed(1, 1).await;
    assert_eq!(open.fence().state(&fences.offsets().await.unwrap()), FenceState::Waiting);
    transaction.commit();
    until_passed(&fences, &open).await;
    assert_eq!(kit.version("t").await, Some(2));
    // The transaction's end is a record, too.
    let ended = fences.offsets().await.unwrap();
    until_passed(&fences, &ended).await;

    // A held event holds up the fence.
    kit.refuse("h").await;
    kit.event_at(1, "h", "1", "{}").await;
    let held = fences.offsets().await.unwrap();
    kit.event_at(1, "c", "1", "{}").await;
    kit.until("SELECT count(*) FROM resources WHERE id = 'c'", 1).await;
    assert_eq!(held.fence().state(&fences.offsets().await.unwrap()), FenceState::Waiting);
    kit.no_longer_refuse("h").await;
    until_passed(&fences, &held).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_void_when_the_topic_is_another_one() {
    let kit = Kit::new("fence_void", 1).await;
    let fences = fences(&kit);
    kit.events("a", 1..=3).await;
    let worker = kit.worker();
    kit.until_committed(0, 3).await;
    let before = fences.offsets().await.unwrap();
    assert_eq!(before.fence().state(&before), FenceState::Passed);
    kit.add_partitions(3).await;
    let is_void = async || before.fence().state(&fences.offsets().await.unwrap()) == FenceState::Void;
    until("a fence of one partition is void", is_void).await;
    let added = fences.offsets().await.unwrap();
    assert_eq!(added.fence().state(&added), FenceState::Passed, "the new partitions are empty");
    worker.stop().await.unwrap();

    kit.delete_topic(&kit.scope.input_topic).await;
    let why = fences.offsets().await.unwrap_err().to_string();
    assert!(why.contains("does not exist: run `worker-service setup`"), "{why}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    kit.make_topics(3).await;
    let anew =
        found("the topic is there again", async || fences.offsets().await.map_err(|error| error.to_string())).await;
    assert_eq!(added.fence().state(&anew), FenceState::Void);
    assert_eq!(anew.fence().state(&anew), FenceState::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_an_earlier_log_passes_no_fence() {
    let kit = Kit::new("fence_beyond", 1).await;
    kit.events("a", 1..=3).await;
    kit.commit(100).await;
    let fences = fences(&kit);
    let beyond = fences.offsets().await.unwrap();
    assert_eq!(beyond.fence().state(&beyond), FenceState::Waiting);
    let worker = kit.worker();
    until_passed(&fences, &beyond).await;
    assert_eq!(kit.version("a").await, Some(3));
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fence_is_passed_while_kafka_is_away() {
    let mut kit = Kit::new("fence_away", 1).await;
    kit.scope.endpoints.kafka_brokers = nobody();
    let asked = Instant::now();
    let why = fences(&kit).offsets().await.unwrap_err().to_string();
    assert_eq!(why, "Kafka does not answer");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}
