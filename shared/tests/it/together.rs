//! Reads at the same time share a request, and each gets its own answer.

use crate::prelude::*;

#[tokio::test]
async fn each_gets_its_own() {
    let kit = Kit::new("together").await;
    let mut redis = kit.redis().await;
    // More reads than a request has; of every three devices one is absent, and one key holds a list.
    let body = |n: usize| format!(r#"{{"version":{n},"id":"d{n}"}}"#);
    for n in 0..600 {
        match n % 3 {
            0 => redis.set::<_, _, ()>(kit.key(&format!("d{n}")), body(n)).await.unwrap(),
            1 => redis.lpush::<_, _, ()>(kit.key(&format!("d{n}")), "x").await.unwrap(),
            _ => {}
        }
    }
    let mut reads = tokio::task::JoinSet::new();
    let mut going = Vec::new();
    for n in 0..600 {
        let cache = kit.cache.clone();
        let id: DeviceId = format!("d{n}").parse().unwrap();
        let read = reads.spawn(async move { (n, cache.get(&id.cache_key()).await) });
        if n % 7 == 0 {
            going.push(read);
        }
    }
    // Now the reads wait. Reads that are given up do not affect the others.
    tokio::task::yield_now().await;
    for read in going {
        read.abort();
    }
    let mut answered = 0;
    while let Some(read) = reads.join_next().await {
        let Ok((n, found)) = read else { continue };
        answered += 1;
        let expected = match n % 3 {
            0 => Lookup::Hit(body(n).into()),
            1 => Lookup::Corrupt,
            _ => Lookup::Miss,
        };
        assert_eq!(found, expected, "{n}");
    }
    assert!(answered >= 514, "{answered}");
}
