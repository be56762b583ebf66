//! What poison with large keys takes in memory.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn poison_with_large_keys_takes_bounded_memory() {
    let kit = Kit::new("large_keys", 1).await;
    let (broker, topic) = (kit.scope.endpoints.kafka_brokers.clone(), kit.scope.input_topic.clone());
    // Text, and of few devices, so that none of it waits for an operator.
    let put = move || {
        for n in 0..300_u32 {
            let key = format!("{}{}", n % 20, "k".repeat(900_000));
            let record = WireRecord { key: Some(key.into_bytes()), ..WireRecord::default() };
            produce(&broker, &topic, 0, &[record]).unwrap();
        }
    };
    blocking(put).await;
    kit.event("d", "behind", "{}").await;
    let worker = kit.process().await;
    let most = std::sync::atomic::AtomicUsize::new(0);
    until("what is behind them is applied", async || {
        most.fetch_max(worker.resident(), std::sync::atomic::Ordering::Relaxed);
        kit.count("SELECT count(*) FROM events").await == 1
    })
    .await;
    let most = most.into_inner();
    println!("{most} MiB resident");
    assert!((5..128).contains(&most), "{most} MiB");
    worker.end().await;

    // Listed without their keys as a whole.
    let listed = kit.list(&[]).await;
    assert_eq!(listed.len(), 300);
    assert!(listed.iter().all(|letter| letter["device"].as_str().unwrap().len() < 1_100));

    // Neither what is listed nor what waits to be sent is fetched ahead of that without bound.
    let (said, most) = kit.measured(&["dlq", "list"]).await;
    println!("{most} MiB to list them");
    assert_eq!((said.status, said.out.lines().count()), (0, 300), "{}", said.error);
    assert!((5..160).contains(&most), "{most} MiB");
    let (said, most) = kit.measured(&["dlq", "redrive", "--limit=100", "--rate=50"]).await;
    println!("{most} MiB to send some");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("300 letters read, 300 matched: sent 100, "), "{}", said.out);
    assert!((5..160).contains(&most), "{most} MiB");
}
