//! The output of `dlq list` and `dlq show`.

use crate::prelude::*;

async fn listed(kit: &Kit, more: &[&str]) -> Vec<i64> {
    kit.list(more).await.iter().map(|letter| letter["offset"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_with_all_that_is_known_but_their_payload_and_one_is_shown_whole() {
    let (kit, worker) = Kit::with_worker("list", 1).await;
    kit.apply("a", "e-1", "{}").await;
    worker.stop().await.unwrap();
    let at = |text: &'static str| [("dlq.failed_at", text)];
    kit.letter("a", "e-0", 0, &at("2026-01-01T00:00:00Z")).await;
    kit.letter("a", "e-1", 1, &at("2026-01-02T00:00:00Z")).await;
    let redriven = [
        ("dlq.failed_at", "2026-01-03T00:00:00Z"),
        ("origin.topic", "in"),
        ("origin.partition", "0"),
        ("origin.offset", "2"),
        ("origin.timestamp", "2"),
        ("redrive.count", "2"),
    ];
    kit.letter("b", "e-1", 2, &redriven).await;
    kit.letter("b", "e-2", 3, &[("dlq.failed_at", "2026-01-04T00:00:00Z"), ("dlq.reason", "rejected")]).await;

    let all = kit.list(&[]).await;
    let expected = json!({
        "partition": 0, "offset": 1, "key": "a", "event_id": "e-1", "reason": "failed", "attempts": 4,
        "error": "SQLSTATE P0001: refused", "failed_at": "2026-01-02T00:00:00Z",
        "origin": {"topic": kit.scope.input_topic, "partition": 0, "offset": 1},
        "redrives": 0, "truncated": false, "applied": true, "outcome": "applied", "handler": "devices",
    });
    assert_eq!(all[1], expected, "it stands beside a row");
    assert_eq!((all.len(), &all[0]["applied"], &all[2]["redrives"]), (4, &false.into(), &2.into()));
    assert!(!format!("{all:?}").contains("secret"));

    assert_eq!(listed(&kit, &["--key=b"]).await, [2, 3]);
    assert_eq!(listed(&kit, &["--reason=rejected"]).await, [3]);
    let between = ["--since=2026-01-02T00:00:00Z", "--until=2026-01-03T01:00:00+01:00"];
    assert_eq!(listed(&kit, &between).await, [1], "from, and before");
    assert_eq!(listed(&kit, &["--limit=2"]).await, [0, 1]);

    let away = format!("--database-url=postgres://u@{}/none", nobody());
    let all = kit.list(&[&away]).await;
    assert_eq!((all.len(), &all[1]["applied"]), (4, &Value::Null), "listed nevertheless");

    let shown = kit.show(0, 2).await.unwrap();
    assert_eq!((&shown["key"], &shown["value"]), (&"b".into(), &r#"{"secret":"e-1"}"#.into()));
    assert!(shown["headers"].as_array().unwrap().contains(&json!({"name": "origin.topic", "value": "in"})));
    assert!(kit.show(0, 4).await.unwrap_err().to_string().contains("no record at offset 4"));
    assert!(kit.show(9, 0).await.unwrap_err().to_string().contains("no partition 9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_all_handlers_are_listed_together() {
    let kit = Kit::new("list_all", 1).await;
    let (ones, watchers) = (kit.beside("ones").await, kit.beside("watchers").await);
    let of = |kit: &Kit| kit.scope.group.clone();
    ones.letter("a", "1", 0, &[("dlq.group", &of(&ones))]).await;
    watchers.letter("b", "2", 0, &[("dlq.group", &of(&watchers))]).await;
    ones.letter("c", "3", 1, &[("dlq.group", &of(&ones))]).await;
    let both = [("ones", &ones), ("watchers", &watchers)];
    let ends = |listed: String| {
        let keys = listed.lines().map(|line| {
            let key = line.split_whitespace().find_map(|field| field.strip_prefix("key=")).unwrap();
            (key.to_owned(), line.rsplit(' ').next().unwrap().to_owned())
        });
        keys.collect::<Vec<_>>()
    };
    let of_handler = |key: &str, handler: &str| (key.to_owned(), format!("handler={handler}"));
    let (a, b, c) = (of_handler("a", "ones"), of_handler("b", "watchers"), of_handler("c", "ones"));
    assert_eq!(ends(Kit::list_of(&both, &[]).await), [a.clone(), c.clone(), b]);
    assert_eq!(ends(Kit::list_of(&both, &["--limit=2"]).await), [a, c], "of all together");
    let alone = Kit::list_of(&both[..1], &[]).await;
    assert!(alone.lines().count() == 2 && !alone.contains("handler="), "{alone}");
    let json = Kit::list_of(&both, &["--json", "--key=b"]).await;
    let letter: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&letter["key"], &letter["handler"]), (&json!("b"), &json!("watchers")));
}

/// An open transaction on the dead-letter topic blocks the letters behind it, which the commands report.
#[tokio::test(flavor = "multi_thread")]
async fn letters_behind_an_open_transaction_are_told_of() {
    let kit = Kit::new("unstable_letters", 1).await;
    kit.letter("a", "1", 0, &[]).await;
    let producer = kit.transactional_on(&kit.scope.dlq_topic, "letters");
    producer.open("b", &["1", "2"]);
    kit.letter("a", "2", 1, &[]).await;
    let waiting = |error: &str| {
        let lines = told(error, "dead letters wait behind an open transaction and cannot be read yet");
        lines.first().map(|line| ["partition", "from_offset", "offsets"].map(|name| line[name].as_i64().unwrap()))
    };
    for command in [&["dlq", "list"][..], &["dlq", "redrive", "--dry-run"]] {
        let said = kit.command(command).await;
        assert_eq!((said.status, waiting(&said.error)), (0, Some([0, 1, 3])), "{said:?}");
        assert_eq!(said.out.lines().filter(|line| line.contains("key=a")).count(), 1, "{said:?}");
    }
    let said = kit.command(&["dlq", "redrive", "--partition=0", "--offset=3"]).await;
    assert_eq!((said.status, waiting(&said.error)), (0, Some([0, 3, 1])), "{said:?}");
    let waits = "offset 3 is behind an open transaction and cannot be read yet";
    kit.fails(&["dlq", "show", "0", "3"], waits).await;
    kit.fails(&["dlq", "show", "0", "9"], "has no record at offset 9").await;

    producer.commit();
    // The transaction's marker may be written after the commit returns.
    until("it can be shown", async || kit.command(&["dlq", "show", "0", "3"]).await.status == 0).await;
    let said = kit.command(&["dlq", "list"]).await;
    assert_eq!((said.status, waiting(&said.error), said.out.lines().count()), (0, None, 4), "{said:?}");
}
