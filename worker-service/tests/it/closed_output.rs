//! Commands whose output nobody reads: what they do is done as a whole, and that is no failure.

use crate::prelude::*;

async fn cached(kit: &Kit, device: &str) -> Option<String> {
    kit.redis().await.get(kit.key(device)).await.unwrap()
}

async fn cache(kit: &Kit, device: &str) {
    let () = kit.redis().await.set_ex(kit.key(device), r#"{"version":1}"#, 60).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_is_done_as_a_whole() {
    let (kit, worker) = Kit::with_worker("unheard", 1).await;
    for device in ["a", "b"] {
        kit.event(device, "1", "{}").await;
    }
    kit.until("SELECT count(*) FROM events", 2).await;
    worker.stop().await.unwrap();

    cache(&kit, "a").await;
    let said = kit.unheard(&["forget", "a"]).await;
    assert_eq!((said.status, kit.version("a").await, cached(&kit, "a").await), (0, None, None), "{said:?}");

    cache(&kit, "b").await;
    let said = kit.unheard(&["seek", "--from-beginning"]).await;
    assert_eq!((said.status, kit.committed().await[&0], cached(&kit, "b").await), (0, 0, None), "{said:?}");

    kit.store.pause(&kit.scope.group, &kit.scope.input_topic, 0, "a test").await.unwrap();
    for _ in ["paused", "not paused"] {
        assert_eq!(kit.unheard(&["resume"]).await.status, 0);
        assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 0);
    }

    // The first one is refused, and told so, before any is sent.
    kit.letter("b", "cut", 0, &[("dlq.truncated", "9")]).await;
    kit.letter("b", "whole", 1, &[]).await;
    assert_eq!(kit.unheard(&["dlq", "redrive"]).await.status, 0);
    assert_eq!(kit.records(3).await.len(), 3, "it is sent");
}

/// To a full disk nothing can be told, which whoever reads the file later has to know.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_done_and_said_to_be() {
    let (kit, worker) = Kit::with_worker("untold", 1).await;
    kit.apply("a", "1", "{}").await;
    worker.stop().await.unwrap();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();

    cache(&kit, "a").await;
    let said = kit.command_into(&["seek", "--from-beginning"], full()).await;
    assert_eq!((said.status, kit.committed().await[&0], cached(&kit, "a").await), (1, 0, None), "{said:?}");
    assert!(said.error.contains("error: the group is rewound, but that could not be told: "), "{}", said.error);

    cache(&kit, "a").await;
    let said = kit.command_into(&["forget", "a"], full()).await;
    assert_eq!((said.status, kit.version("a").await, cached(&kit, "a").await), (1, None, None), "{said:?}");
    assert!(said.error.contains("error: the device is forgotten, but that could not be told: "), "{}", said.error);
}
