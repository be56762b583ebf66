//! A worker that hangs lets go of its partitions, and every event still has exactly one effect.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_postgresql_hangs_lets_go_in_time() {
    let kit = Kit::new("hangs", 6).await;
    let (proxy, first) = kit.proxied_worker();
    let report = async |id: &str| {
        let devices: Vec<_> = (0..30).map(|device| format!("d{device}")).collect();
        futures_util::future::join_all(devices.iter().map(|device| kit.event(device, id, "{}"))).await;
    };
    report("1").await;
    kit.until("SELECT count(*) FROM events", 30).await;
    proxy.hold();
    report("2").await;
    let began = Instant::now();
    let second = kit.worker();
    wait_for_partitions(&[&first, &second]).await;
    let took = began.elapsed();
    println!("it took {took:?} to let go");
    // Its bounds are 8 s for what is under way, and 3 s for the commit.
    assert!(took < Duration::from_secs(30), "{took:?}");
    proxy.mend();
    kit.until("SELECT count(*) FROM resources WHERE version = 2", 30).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 60);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert_eq!(kit.committed().await.values().sum::<i64>(), 60);
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

/// Waits until all six partitions are shared by these workers, each of which has some.
async fn wait_for_partitions(workers: &[&Worker]) {
    let shared = async || {
        let owned: Vec<usize> = workers
            .iter()
            .map(|worker| of_group(&worker.health.report().1)["partitions"].as_object().unwrap().len())
            .collect();
        if owned.iter().sum::<usize>() == 6 && owned.iter().all(|count| *count > 0) { Ok(()) } else { Err(owned) }
    };
    devstack::kit::found("each has some", shared).await;
}
