//! A flood of dead letters pauses its partition until an operator says otherwise.

use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_dead_letters_pauses_the_partition_until_it_is_resumed() {
    let kit = Kit::new("rations", 1).await;
    let worker = kit.worker();
    let keys: Vec<_> = (0..150).map(|n| format!("d{n}")).collect();
    let puts = keys.iter().map(|key| kit.put(Some(key.as_bytes()), Some(b"x"), &[]));
    futures_util::future::join_all(puts).await;
    kit.event("good", "1", "{}").await;
    kit.until("SELECT count(*) FROM paused_partitions", 1).await;
    assert_eq!(kit.dead_letters(100).await.len(), 100);
    assert!(worker.health.report().1["partitions"]["0"]["paused"].as_bool().unwrap());
    worker.stop().await.unwrap();

    let worker = kit.worker();
    let group = kit.scope.group.as_str();
    let paused = async || worker.health.report().1["partitions"]["0"]["paused"] == true;
    while !paused().await {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(kit.dead_letters(100).await.len(), 100, "the pause outlives the worker");
    let resumed = kit.store.resume(group, None).await.unwrap();
    assert_eq!(resumed, [(kit.scope.input_topic.clone(), 0)]);
    kit.until("SELECT count(*) FROM events", 1).await;
    assert_eq!(kit.dead_letters(150).await.len(), 150);
    worker.stop().await.unwrap();
}
