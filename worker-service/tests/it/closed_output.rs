//! Commands whose output nobody reads: what they do is done as a whole, and that is no failure.

use redis::AsyncCommands as _;

use crate::prelude::*;

async fn cached(kit: &Kit, device: &str) -> Option<String> {
    kit.redis().await.get(kit.key(device)).await.unwrap()
}

async fn cache(kit: &Kit, device: &str) {
    let () = kit.redis().await.set_ex(kit.key(device), r#"{"version":1}"#, 60).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_is_done_as_a_whole() {
    let kit = Kit::new("unheard", 1).await;
    let worker = kit.worker();
    for device in ["a", "b"] {
        kit.event(device, "1", "{}").await;
    }
    kit.until("SELECT count(*) FROM events", 2).await;
    worker.stop().await.unwrap();

    cache(&kit, "a").await;
    let said = kit.unheard(&["erase", "a"]).await;
    assert_eq!((said.status, kit.version("a").await, cached(&kit, "a").await), (0, None, None), "{said:?}");

    cache(&kit, "b").await;
    let said = kit.unheard(&["seek", "--from-beginning"]).await;
    assert_eq!((said.status, kit.committed().await[&0], cached(&kit, "b").await), (0, 0, None), "{said:?}");

    sqlx::query("INSERT INTO paused_partitions (consumer_group, topic, partition, reason) VALUES ($1, $2, 0, 'test')")
        .bind(&kit.scope.group)
        .bind(&kit.scope.input_topic)
        .execute(&kit.pool)
        .await
        .unwrap();
    for _ in ["paused", "not paused"] {
        let said = kit.unheard(&["resume"]).await;
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 0);
    }

    // The first one is refused, and told so, before any is sent.
    kit.letter("b", "cut", 0, &[("dlq.truncated", "9")]).await;
    kit.letter("b", "whole", 1, &[]).await;
    let said = kit.unheard(&["dlq", "redrive"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(kit.records(3).await.len(), 3, "it is sent");
}

/// To a full disk nothing can be told, which whoever reads the file later has to know.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_done_and_said_to_be() {
    let kit = Kit::new("untold", 1).await;
    let worker = kit.worker();
    kit.event("a", "1", "{}").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    worker.stop().await.unwrap();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap().into();

    cache(&kit, "a").await;
    let said = kit.command_into(&["seek", "--from-beginning"], full()).await;
    assert_eq!((said.status, kit.committed().await[&0], cached(&kit, "a").await), (1, 0, None), "{said:?}");
    assert!(
        said.error.contains("error: the group is rewound, but the result could not be printed: "),
        "{}",
        said.error
    );

    cache(&kit, "a").await;
    let said = kit.command_into(&["erase", "a"], full()).await;
    assert_eq!((said.status, kit.version("a").await, cached(&kit, "a").await), (1, None, None), "{said:?}");
    assert!(
        said.error.contains("error: the device is erased, but the result could not be printed: "),
        "{}",
        said.error
    );
}
