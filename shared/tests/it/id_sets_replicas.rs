//! Bounded sets of ids on servers that are replicas, or were.

use std::sync::Arc;

use shared::cache::Added;

use crate::id_sets::{EARLIER, LATER, Sets};
use crate::prelude::*;
use crate::redis_refuses::{connection, start};

#[tokio::test]
async fn a_replica_answers_nothing_and_one_that_took_over_is_another_incarnation() {
    let (first, second) = (Arc::new(start(&[]).await), Arc::new(start(&[]).await));
    let pair = (Arc::clone(&first), Arc::clone(&second));
    blocking(move || pair.1.follow(&pair.0).unwrap()).await;
    let name = Proxy::to(first.port).unwrap();
    let mut sets = Sets::at(&format!("redis://127.0.0.1:{}", name.port), "p:");
    sets.note(EARLIER).await;
    assert_eq!(sets.added("s", "a").await, Added::New);

    let pair = (Arc::clone(&first), Arc::clone(&second));
    blocking(move || pair.0.hand_over(&pair.1).unwrap()).await;
    // The connection leads to the old primary until it is made again.
    assert_eq!(sets.added("s", "a").await, Added::Unsure);
    assert!(sets.sets.incarnations().await.is_err(), "a replica has none");
    name.lead_to(second.port);
    sets.assert_is_another().await;
    assert_eq!(sets.note(LATER).await, 1);
    assert_eq!(sets.added("s", "a").await, Added::Unknown(2), "it may lag behind");
}

/// The connection stays open, and nobody asks meanwhile.
#[tokio::test]
async fn so_is_one_that_was_a_replica_for_a_moment() {
    let redis = start(&[]).await;
    let mut sets = Sets::of(&redis).await;
    assert_eq!(sets.added("s", "a").await, Added::New);
    let mut direct = connection(&redis).await;
    for role in [["127.0.0.1", "1"], ["NO", "ONE"]] {
        let () = redis::cmd("REPLICAOF").arg(&role).query_async(&mut direct).await.unwrap();
    }
    sets.assert_is_another().await;
    assert_eq!(sets.note(LATER).await, 1);
}
