//! The incarnations of the caps' Redis in PostgreSQL.

use shared::ads::queries::{are_unmet, note_incarnation, prove, unproven};

use crate::prelude::*;

#[tokio::test]
async fn an_incarnation_is_noted_once_and_proven_later() {
    let kit = Kit::new("ads_incarnations").await;
    let note = async |id: &str| note_incarnation(&kit.store, id, None).await.unwrap();
    let first = note("run:repl:0").await;
    assert_eq!((first.serial, first.is_proven), (1, false));
    assert_eq!(note("run:repl:0").await, first);
    assert_eq!(note("run:other:1").await.serial, 2);
    assert_eq!(unproven(&kit.store, Duration::from_secs(60)).await.unwrap(), [0; 0]);
    assert_eq!(unproven(&kit.store, Duration::ZERO).await.unwrap(), [1, 2]);
    prove(&kit.store, &[1]).await.unwrap();
    assert_eq!(unproven(&kit.store, Duration::ZERO).await.unwrap(), [2]);
    assert!(note("run:repl:0").await.is_proven);
}

/// `CONFIG RESETSTAT` sets the number of evicted keys to 0, and slots of a cluster move there and back.
#[tokio::test]
async fn an_incarnation_that_another_one_followed_never_comes_back() {
    let kit = Kit::new("ads_incarnations_over").await;
    let note = async |id: &str, over| note_incarnation(&kit.store, id, over).await.unwrap();
    let serial = async |id: &str, over| note(id, over).await.serial;
    assert_eq!((serial("run:repl:0:m", None).await, serial("other:repl:0:m", None).await), (1, 2));
    prove(&kit.store, &[1, 2]).await.unwrap();
    assert_eq!(serial("run:repl:300:m", None).await, 3);
    let again = note("run:repl:0:m", None).await;
    assert_eq!((again.serial, again.is_proven), (4, false), "its text has come back");
    assert_eq!(serial("run:repl:300:m", None).await, 5);
    assert_eq!(serial("run:repl:300:other", None).await, 6);
    assert_eq!(serial("run:repl:300:m", None).await, 7);
    assert_eq!(serial("run:repl2:300:m", None).await, 8, "another term");
    assert_eq!((serial("run:repl:300:m", None).await, serial("other:repl:0:m", None).await), (7, 2), "these go on");

    // The counters began anew, and its text is the same. Each instance sees that by itself.
    for _ in ["one", "another"] {
        assert_eq!(serial("run:repl:300:m", Some(7)).await, 9);
        assert_eq!(serial("run:repl:300:m", Some(3)).await, 9, "what it had before was over already");
    }
    assert!(note("other:repl:0:m", None).await.is_proven);
    assert_eq!(kit.number("SELECT count(*) FROM redis_incarnations").await, 9, "they are kept");
}

#[tokio::test]
async fn a_redis_is_known_if_an_instance_has_met_it_in_its_present_term() {
    let kit = Kit::new("ads_incarnations_unmet").await;
    let unmet = async |ids: &[&str]| are_unmet(&kit.store, ids).await.unwrap();
    assert!(!unmet(&["run:repl:0:m"]).await, "no instance has met any");
    for id in ["run:repl:0:m", "run:repl:300:m", "other:repl:0:m"] {
        note_incarnation(&kit.store, id, None).await.unwrap();
    }
    assert!(!unmet(&["run:repl:0:m"]).await && !unmet(&["run:repl:301:n"]).await, "whatever it evicted");
    for stranger in ["run:repl2:0:m", "run:rep:0:m", "run2:repl:0:m", "run:repl", ""] {
        assert_eq!(unmet(&[stranger]).await, stranger != "run:repl", "{stranger}");
        assert!(!unmet(&[stranger, "other:repl:7:m"]).await, "one of several nodes is enough");
    }
    assert!(unmet(&[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_meet_an_incarnation_at_once_agree() {
    let kit = Kit::new("ads_incarnations_race").await;
    let first = note_incarnation(&kit.store, "run:repl:0:m", None).await.unwrap();
    let tasks = (0..8).map(|_| {
        let store = kit.store.clone();
        tokio::spawn(async move { note_incarnation(&store, "run:repl:0:m", Some(first.serial)).await.unwrap() })
    });
    for met in futures_util::future::join_all(tasks).await {
        assert_eq!(met.unwrap().serial, 2);
    }
}
