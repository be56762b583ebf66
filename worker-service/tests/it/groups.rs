//! Workers come and go, and every event still has exactly one effect.

use std::time::Duration;

use crate::kit::Kit;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_joins_and_leaves_under_load() {
    let kit = std::sync::Arc::new(Kit::new("groups", 6).await);
    let first = kit.worker();
    let load = tokio::spawn({
        let kit = std::sync::Arc::clone(&kit);
        async move {
            for n in 1..=400 {
                let devices: Vec<_> = (0..10).map(|device| format!("d{device}")).collect();
                let (id, payload) = (n.to_string(), format!(r#"{{"n":{n}}}"#));
                let posts = devices.iter().map(|device| kit.event(device, &id, &payload));
                futures_util::future::join_all(posts).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = kit.worker();
    wait_for_partitions(&[&first, &second]).await;
    second.stop().await.unwrap();
    let third = kit.worker();
    wait_for_partitions(&[&first, &third]).await;
    first.stop().await.unwrap();
    load.await.unwrap();
    kit.until("SELECT count(*) FROM events", 4_000).await;
    kit.until("SELECT count(*) FROM resources WHERE version = 400 AND payload = '{\"n\":400}'", 10).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome <> 'applied'").await, 0);
    third.stop().await.unwrap();
    assert_eq!(kit.committed().await.values().sum::<i64>(), 4_000);
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

/// Waits until all six partitions are shared by these workers, each of which has some.
async fn wait_for_partitions(workers: &[&worker_service::worker::Worker]) {
    let deadline = std::time::Instant::now() + crate::kit::PATIENCE;
    loop {
        let owned: Vec<usize> =
            workers.iter().map(|worker| worker.health.report().1["partitions"].as_object().unwrap().len()).collect();
        if owned.iter().sum::<usize>() == 6 && owned.iter().all(|count| *count > 0) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{owned:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
