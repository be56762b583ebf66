//! What a held device's flood takes in memory.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_behind_a_held_device_takes_bounded_memory() {
    let kit = Kit::new("memory", 1).await;
    kit.refuse("held").await;
    kit.event("held", "first", "{}").await;
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(3_000));
    // Of twenty events nineteen are the held device's: all of it would be some 200 MB.
    let of = |n: usize| if n.is_multiple_of(20) { format!("d{}", n % 1_000) } else { "held".to_owned() };
    kit.flood(60_000, &payload, of).await;

    let worker = kit.process().await;
    until("it is held", async || worker.health().await.to_string().contains(r#""held_keys":1"#)).await;
    let began = Instant::now();
    let mut most = 0;
    let mut done = 0;
    // Too much waits behind it: each is tried once, one by one; and all the while the partition goes on.
    while began.elapsed() < Duration::from_secs(10) || done < 20 {
        assert!(began.elapsed() < PATIENCE, "the partition goes on: {done}");
        most = most.max(worker.resident());
        done = kit.count("SELECT count(*) FROM events").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("at most {most} MiB resident; {done} events of other devices were applied meanwhile");
    assert!((5..128).contains(&most), "{most} MiB");
    worker.service.kill().unwrap();
}
