//! Partitions are added while devices have a backlog: the position of an event decides, not the order of reading.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_is_overtaken_by_a_new_partition_changes_no_newer_state() {
    let kit = Kit::new("added", 1).await;
    // The old partition is paused: the earlier events of its devices have to wait with it.
    kit.store.pause(&kit.scope.group, &kit.scope.input_topic, 0, "a test").await.unwrap();
    for n in 1..=5 {
        for device in ["moves", "stays"] {
            kit.event_at(0, device, &format!("old-{n}"), &format!(r#"{{"old":{n}}}"#)).await;
        }
    }
    kit.add_partitions(3).await;
    let worker = kit.worker();
    for n in 1..=3 {
        kit.event_at(2, "moves", &format!("new-{n}"), &format!(r#"{{"new":{n}}}"#)).await;
        kit.event_at(1, "begins", &format!("new-{n}"), &format!(r#"{{"new":{n}}}"#)).await;
    }
    kit.until("SELECT count(*) FROM events", 6).await;
    assert_eq!((kit.version("moves").await, kit.version("stays").await), (Some(3), None), "the backlog waits");

    let said = kit.succeeds(&["resume", "--partition=1"]).await;
    assert!(said.ends_with(&format!("no partition of the group {} was paused\n", kit.scope.group)), "{said}");
    let said = kit.succeeds(&["resume", "--partition=0"]).await;
    assert!(
        said.ends_with(&format!("resumed {} [0] of the group {}\n", kit.scope.input_topic, kit.scope.group)),
        "{said}"
    );
    kit.until("SELECT count(*) FROM events", 16).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome = 'superseded' AND device_id = 'moves'").await, 5);
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome = 'superseded'").await, 5, "nobody else's");
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE id = 'moves' AND payload = '{"new":3}'"#).await, 1);
    assert_eq!(kit.count(r#"SELECT count(*) FROM resources WHERE id = 'stays' AND payload = '{"old":5}'"#).await, 1);
    assert_eq!((kit.version("moves").await, kit.version("stays").await), (Some(3), Some(5)));
    worker.stop().await.unwrap();
    assert_eq!(kit.committed().await.values().copied().collect::<Vec<_>>(), [10, 3, 3]);
}
