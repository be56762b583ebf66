use std::time::Duration;

use serde_json::json;

use super::*;
use crate::checker::tests::{ended, of_wire, read as read_at, record, sent, span, stood_still, whole};
use crate::history::ads::{AdLetter, FrozenApi, InvalidRow, LeaseRow};
use crate::history::placements::{DomainLetter, LeftBehind, Number, OutboxRow, Restored, SavedVideo};

/// A history with two facts of each kind, and with characters that JSON must escape.
fn full() -> (History, End) {
    let (mut history, mut end) = whole();
    history.sent.insert("a/\"1\"".into(), vec![sent(1, 1, 0)]);
    let text = json!({"text": "line\nbreak"});
    let from = Duration::from_micros(1);
    history.reads.push(Read { device: "a/\"1\"".into(), from, payload: text, bypass: true, ..read_at(0, 1) });
    history.poison.insert("poison\n".into());
    history.refused.insert("b".into());
    history.aborted.insert("a/\"1\"".into(), ["1".into(), "2".into()].into());
    let away = vec![span(1, 2), span(4, 5)];
    (history.redis_away, history.postgres_away) = (away.clone(), away.clone());
    history.letters_refused = away;
    history.workers_away = vec![ended(7, 1), stood_still(7, 1, 9)];
    end.log.push(Record { id: None, value: Some("garbage".into()), wire: Some("0".into()), ..record("a", 5, 1) });
    end.rows[0].applied = false;
    end.letters.push(Letter { cut: true, ..of_wire("1") });
    end.cached.insert("b".into(), "{}".into());
    end.left = [(0, (1, 2)), (1, (3, 4))].into();
    history.ads.frozen = vec![FrozenApi { api: 1, span: span(1, 2) }];
    history.ads.evicted = vec![span(1, 2)];
    end.ads.leases.push(LeaseRow { lease: "l".into(), campaign: 1, day: "d".into(), amount: 2, settled: 1 });
    end.ads.letters.push(AdLetter { key: "1:\n".into(), id: "e".into(), reason: "r".into(), error: "\"".into() });
    end.ads.invalid.push(InvalidRow { campaign: 1, reason: "r".into(), events: 2 });
    end.ads.left = [(0, (1, 2))].into();
    placements(&mut history, &mut end);
    (history, end)
}

/// The facts of placements that an intact history does not have.
fn placements(history: &mut History, end: &mut End) {
    let number = |last| Number { aggregate: "v".into(), last };
    let saved = SavedVideo { id: "v".into(), revision: 1, ready_revision: 0, version: 2 };
    let (videos, numbers) = (vec![saved], vec![number(3)]);
    history.placements.restored = vec![Restored { span: span(1, 2), videos, numbers }];
    end.placements.outbox = vec![OutboxRow { event: "e".into(), aggregate: "v".into(), sequence: 3 }];
    let text = |text: &str| text.to_owned();
    let (reason, error) = (text("failed"), text("\"why\""));
    end.placements.letters = vec![DomainLetter { key: text("v"), id: text("e"), group: text("g"), reason, error }];
    end.placements.left = vec![LeftBehind { subscriber: text("files"), partition: 1, committed: 2, end: 3 }];
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
    let is_other = |line: &&str| {
        [r#""device":"a"#, r#""key":"a"#, r#"{"ads""#, r#"{"placements""#].iter().any(|it| line.contains(it))
    };
    let text = text();
    let cut: Vec<_> = text.lines().filter(|line| !is_other(line)).collect();
    let (history, end) = read(cut.join("\n").as_bytes()).unwrap();
    assert_eq!(history.sent.keys().collect::<Vec<_>>(), ["r"]);
    assert_eq!(end.resources.keys().collect::<Vec<_>>(), ["r"]);
    assert_eq!(history.commits, full().0.commits);
    assert_eq!((history.ads, end.ads), Default::default());
    assert_eq!((history.placements, end.placements), Default::default());
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
}
