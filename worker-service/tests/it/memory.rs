//! The memory that a held device's flood and poison records with large keys need.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_behind_a_held_device_takes_bounded_memory() {
    let kit = Kit::new("memory", 1).await;
    kit.refuse("held").await;
    kit.event("held", "first", "{}").await;
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(3_000));
    // Nineteen of twenty events belong to the held device, some 200 MB in total.
    let of = |n: usize| if n.is_multiple_of(20) { format!("d{}", n % 1_000) } else { "held".to_owned() };
    kit.flood(60_000, &payload, of).await;

    let worker = kit.process().await;
    until("it is held", async || worker.health().await.to_string().contains(r#""held_keys":1"#)).await;
    let began = Instant::now();
    let mut most = 0;
    let mut done = 0;
    // The limit behind the device is reached: each of its events is tried once, one by one, while the partition
    // continues.
    while began.elapsed() < Duration::from_secs(10) || done < 20 {
        assert!(began.elapsed() < TEST_TIMEOUT, "the partition goes on: {done}");
        most = most.max(worker.resident());
        done = kit.count("SELECT count(*) FROM events").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_memory(most, 128);
    worker.service.kill().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_with_large_keys_takes_bounded_memory() {
    let kit = Kit::new("large_keys", 1).await;
    // Keys are text, and of few devices, so that the budget pauses nothing.
    for n in 0..300_u32 {
        let key = format!("{}{}", n % 20, "k".repeat(900_000));
        let record = WireRecord { key: Some(key.into_bytes()), ..WireRecord::default() };
        kit.write(&kit.scope.input_topic, &[record]).await;
    }
    kit.event("d", "behind", "{}").await;
    let worker = kit.process().await;
    let most = AtomicUsize::new(0);
    until("what is behind them is applied", async || {
        most.fetch_max(worker.resident(), Ordering::Relaxed);
        kit.count("SELECT count(*) FROM events").await == 1
    })
    .await;
    assert_memory(most.into_inner(), 128);
    worker.end().await;

    // The list shortens the keys.
    let listed = kit.list(&[]).await;
    assert_eq!(listed.len(), 300);
    assert!(listed.iter().all(|letter| letter["key"].as_str().unwrap().len() < 1_100));

    // Prefetching is bounded, for the list and for records that wait to be sent.
    let (said, most) = kit.measured(&["dlq", "list"]).await;
    assert_eq!((said.status, said.out.lines().count()), (0, 300), "{}", said.error);
    assert_memory(most, 160);
    let (said, most) = kit.measured(&["dlq", "redrive", "--limit=100", "--rate=50"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("300 dead letters read, 300 matched: sent 100, "), "{}", said.out);
    assert_memory(most, 160);
}
