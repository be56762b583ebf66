use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::history::Place;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A history with two facts of each kind.
fn full() -> (History, End) {
    let sent = |id: &str, acknowledged| Sent {
        id: id.to_owned(),
        payload: json!({"n": id}),
        first: Place { post: 1, index: 0, at: at(1) },
        acknowledged,
        times: 2,
    };
    let read = |version, bypass| Read {
        device: "a/\"1\"".into(),
        from: Duration::from_micros(1),
        to: at(2),
        version,
        event: "1".into(),
        payload: json!({"text": "line\nbreak"}),
        bypass,
    };
    let written = |acknowledged| Written { acknowledged, print: "key 1".into() };
    let away = |ended| WorkerAway { worker: 7, ended, span: Span { from: at(1), to: at(9) } };
    let history = History {
        sent: BTreeMap::from([
            ("a/\"1\"".into(), vec![sent("1", None), sent("2", Some(Place { post: 3, index: 4, at: at(5) }))]),
            ("b".into(), vec![sent("1", None)]),
        ]),
        reads: vec![read(1, false), read(0, true)],
        commits: vec![
            Commit { at: at(1), offsets: BTreeMap::new() },
            Commit { at: at(2), offsets: BTreeMap::from([(0, 1), (11, 12)]) },
        ],
        poison: BTreeSet::from(["poison 0".into(), "poison 1".into()]),
        wire: BTreeMap::from([("0".into(), written(true)), ("1".into(), written(false))]),
        letters_refused: vec![Span { from: at(1), to: at(2) }],
        refused: BTreeSet::from(["a".into(), "b".into()]),
        aborted: BTreeMap::from([
            ("a/\"1\"".into(), BTreeSet::from(["1".into(), "2".into()])),
            ("b".into(), BTreeSet::from(["1".into()])),
        ]),
        redis_away: vec![Span { from: at(1), to: at(2) }, Span { from: at(2), to: at(3) }],
        postgres_away: vec![Span { from: at(1), to: at(2) }, Span { from: at(4), to: at(5) }],
        workers_away: vec![away(true), away(false)],
        bounds: Bounds { ttl: at(20), fill_delay: at(10), fences_sent: at(3), store_timeout: at(2) },
    };
    let record = |id: Option<&str>| Record {
        device: "a".into(),
        id: id.map(str::to_owned),
        value: id.is_none().then(|| "poison 0".into()),
        wire: id.is_none().then(|| "0".into()),
        partition: 1,
        offset: 2,
        appended: 3,
    };
    let row = |applied| Row {
        device: "a".into(),
        id: "1".into(),
        transaction: 4,
        applied,
        partition: 1,
        offset: 2,
        appended: 3,
        payload: json!({"n": 1}),
    };
    let letter = |id: Option<&str>| Letter {
        key: "a".into(),
        value: "poison 0".into(),
        id: id.map(str::to_owned),
        reason: "undecodable".into(),
        error: "is no JSON".into(),
        attempts: 1,
        wire: id.is_none().then(|| "0".into()),
        print: id.is_none().then(|| "key 1".into()),
        cut: id.is_none(),
        partition: 1,
        offset: 2,
        appended: 3,
        died: 4,
    };
    let resource = |version| Resource { version, event: "1".into(), body: format!(r#"{{"version":{version}}}"#) };
    let end = End {
        log: vec![record(Some("1")), record(None)],
        rows: vec![row(true), row(false)],
        resources: BTreeMap::from([("a".into(), resource(1)), ("b".into(), resource(2))]),
        letters: vec![letter(Some("1")), letter(None)],
        cached: BTreeMap::from([("a".into(), "{}".into()), ("b".into(), "{}".into())]),
        left: BTreeMap::from([(0, (1, 2)), (1, (3, 4))]),
    };
    (history, end)
}

fn text() -> String {
    let (history, end) = full();
    let mut text = Vec::new();
    write(&mut text, history, end).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn what_was_written_is_read_again() {
    let text = text();
    assert_eq!(text.lines().next(), Some(r#"{"format":1}"#));
    assert!(text.contains(r#"{"redis_away":{"from":1000000,"to":2000000}}"#), "{text}");
    assert_eq!(read(text.as_bytes()).unwrap(), full());
}

#[test]
fn a_file_is_read_zipped_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (zipped, plain) = (folder.path().join("history.jsonl.gz"), folder.path().join("history.jsonl"));
    let (history, end) = full();
    save(&zipped, history, end).unwrap();
    assert!(std::fs::read(&zipped).unwrap().starts_with(&ZIPPED));
    assert_eq!(load(&zipped).unwrap(), full());
    std::fs::write(&plain, text()).unwrap();
    assert_eq!(load(&plain).unwrap(), full());
    let nowhere = save(&folder.path().join("no/such"), History::default(), End::default()).unwrap_err().to_string();
    assert!(nowhere.starts_with("cannot write "), "{nowhere}");
}

#[test]
fn a_history_cut_down_to_a_device_is_a_history() {
    let is_other = |line: &&str| [r#""device":"a"#, r#""key":"a"#].iter().any(|other| line.contains(other));
    let text = text();
    let cut: Vec<_> = text.lines().filter(|line| !is_other(line)).collect();
    let (history, end) = read(cut.join("\n").as_bytes()).unwrap();
    assert_eq!(history.sent.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(end.resources.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(history.commits, full().0.commits);
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let error = |text: &str| format!("{:#}", read(text.as_bytes()).unwrap_err());
    assert_eq!(error(""), r#"it is empty: a history begins with the line {"format":1}"#);
    assert_eq!(error("{\"format\":2}\n"), "its format is 2, and this checker reads 1");
    assert_eq!(error("{\"format\":1}\n"), "it has no line `bounds`");
    assert!(error("{\"poison\":\"x\"}\n").starts_with("line 1 comes before the line {\"format\":1}"));
    let unknown = error("{\"format\":1}\n{\"wrote\":1}\n");
    assert!(unknown.starts_with("line 2 is no fact of a history: unknown variant `wrote`"), "{unknown}");
    let cut = error("{\"format\":1}\n{\"read\":{\"device\":\"a\"");
    assert!(cut.starts_with("line 2 is no fact of a history"), "{cut}");
    let missing = error("{\"format\":1}\n{\"left\":{\"partition\":1,\"end\":2}}\n");
    assert!(missing.contains("line 2") && missing.contains("`committed`"), "{missing}");
    let nowhere = format!("{:#}", load(Path::new("/nowhere/history.jsonl")).unwrap_err());
    assert!(nowhere.starts_with("cannot open /nowhere/history.jsonl"), "{nowhere}");
}
