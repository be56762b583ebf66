//! Commands with a closed output: they complete their work, and that is not an error.

use crate::prelude::*;

async fn cached(kit: &Kit, device: &str) -> Option<String> {
    kit.redis().await.get(kit.key(device)).await.unwrap()
}

async fn cache(kit: &Kit, device: &str) {
    let () = kit.redis().await.set_ex(kit.key(device), r#"{"version":1}"#, 60).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_is_done_as_a_whole_and_what_cannot_be_told_is_said_to_be_done() {
    let (kit, worker) = Kit::with_worker("unheard", 1).await;
    for device in ["a", "b"] {
        kit.apply(device, "1", "{}").await;
    }
    worker.stop().await.unwrap();

    // A closed pipe is ignored. A full disk is an error, because the file that is read later is incomplete.
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let [erased, rewound] = ["the device is erased", "the group is rewound"]
        .map(|done| format!("error: {done}, but the result could not be printed: "));
    for (device, status, rewound, erased) in [("a", 0, "", ""), ("b", 1, &*rewound, &*erased)] {
        let command = async |args: &[&str]| match status {
            0 => kit.unheard(args).await,
            _ => kit.command_into(args, full()).await,
        };
        kit.commit(2).await;
        cache(&kit, device).await;
        let said = command(&["seek", "--from-beginning"]).await;
        let done = (kit.committed().await[&0], cached(&kit, device).await);
        assert_eq!((said.status, said.error.contains(rewound), done), (status, true, (0, None)), "{said:?}");
        cache(&kit, device).await;
        let said = command(&["erase", device]).await;
        let done = (kit.version(device).await, cached(&kit, device).await);
        assert_eq!((said.status, said.error.contains(erased), done), (status, true, (None, None)), "{said:?}");
    }

    kit.store.pause(&kit.scope.group, &kit.scope.input_topic, 0, "a test").await.unwrap();
    for _ in ["paused", "not paused"] {
        assert_eq!(kit.unheard(&["resume"]).await.status, 0);
        assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 0);
    }

    // The first letter is refused, which is printed before any letter is sent.
    kit.letter("b", "cut", 0, &[("dlq.truncated", "9")]).await;
    kit.letter("b", "whole", 1, &[]).await;
    assert_eq!(kit.unheard(&["dlq", "redrive"]).await.status, 0);
    assert_eq!(kit.records(3).await.len(), 3, "it is sent");
}
