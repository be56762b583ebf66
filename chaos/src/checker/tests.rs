//! The checker on a history that is whole, and on each way of breaking it.

use super::*;
use crate::history::{Commit, Letter, Read, Resource, Sent};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn body(version: i64) -> String {
    format!(r#"{{"version":{version}}}"#)
}

/// A device with three events, a refused one with a dead letter, poison, reads and commits.
fn whole() -> (History, End) {
    let sent = |n: u64| Sent { id: n.to_string(), at: at(n), acknowledged: Some(at(n)), times: 1 };
    let row = |device: &str, id: i64, partition| Row {
        device: device.into(),
        id: id.to_string(),
        applied: true,
        partition,
        offset: 10 * id,
        appended: 1_000 * id,
    };
    let read = |from, version| Read { device: "a".into(), from: at(from), to: at(from), version };
    let history = History {
        sent: BTreeMap::from([
            ("a".into(), vec![sent(1), sent(2), sent(3), Sent { acknowledged: None, ..sent(4) }]),
            ("r".into(), vec![sent(1), sent(2)]),
        ]),
        reads: vec![read(0, 0), read(5, 2), read(9, 3)],
        commits: vec![
            Commit { at: at(4), offsets: BTreeMap::from([(0, 21)]) },
            Commit { at: at(8), offsets: BTreeMap::from([(0, 31)]) },
        ],
        poison: BTreeSet::from(["garbage".into()]),
        refused: BTreeSet::from(["r".into()]),
        redis_away: vec![],
        partitions_added: false,
        ttl: at(5),
    };
    let end = End {
        rows: vec![row("a", 1, 0), row("a", 2, 0), row("a", 3, 0), row("r", 2, 1)],
        resources: BTreeMap::from([
            ("a".into(), Resource { version: 3, event: "3".into(), body: body(3) }),
            ("r".into(), Resource { version: 1, event: "2".into(), body: body(1) }),
        ]),
        letters: vec![
            Letter { key: "x".into(), value: "garbage".into(), id: None, reason: "undecodable".into() },
            Letter { key: "r".into(), value: "{}".into(), id: Some("1".into()), reason: "failed".into() },
        ],
        cached: BTreeMap::from([("a".into(), body(3))]),
    };
    (history, end)
}

/// The promises that are found broken after this was done to the whole history.
fn broken(change: impl FnOnce(&mut History, &mut End)) -> Vec<u8> {
    let (mut history, mut end) = whole();
    change(&mut history, &mut end);
    let mut promises: Vec<_> = check(&history, &end).into_iter().map(|broken| broken.promise).collect();
    promises.sort_unstable();
    promises.dedup();
    promises
}

#[test]
fn a_whole_history_is_whole() {
    let (history, end) = whole();
    assert_eq!(check(&history, &end), []);
}

#[test]
fn an_event_that_was_never_acknowledged_may_be_there() {
    let unacknowledged = |_: &mut History, end: &mut End| {
        let mut row = end.rows[2].clone();
        (row.id, row.offset, row.appended) = ("4".into(), 40, 4_000);
        end.rows.push(row);
        end.resources.insert("a".into(), Resource { version: 4, event: "4".into(), body: body(4) });
        end.cached.clear();
    };
    assert_eq!(broken(unacknowledged), [0_u8; 0]);
}

#[test]
fn an_accepted_event_that_is_nowhere() {
    assert_eq!(broken(|_, end| drop(end.rows.remove(1))), [2]);
}

#[test]
fn a_row_twice() {
    // Counted twice, it also makes every read look too old.
    assert_eq!(broken(|_, end| end.rows.push(end.rows[0].clone())), [2, 5]);
}

#[test]
fn a_row_that_nobody_sent() {
    assert_eq!(broken(|history, _| drop(history.sent.get_mut("a").unwrap().remove(1))), [2]);
}

#[test]
fn a_version_that_counts_wrong() {
    assert_eq!(broken(|_, end| end.resources.get_mut("a").unwrap().version = 4), [2]);
    assert_eq!(broken(|_, end| drop((end.resources.remove("a"), end.cached.clear()))), [2]);
}

#[test]
fn a_state_that_is_not_the_last_event() {
    assert_eq!(broken(|_, end| end.resources.get_mut("a").unwrap().event = "2".into()), [3]);
}

#[test]
fn events_in_another_order() {
    let swapped = |_: &mut History, end: &mut End| {
        (end.rows[0].offset, end.rows[1].offset) = (end.rows[1].offset, end.rows[0].offset);
        (end.rows[0].appended, end.rows[1].appended) = (end.rows[1].appended, end.rows[0].appended);
    };
    assert_eq!(broken(swapped), [3]);
}

#[test]
fn an_event_passed_over() {
    let superseded = |_: &mut History, end: &mut End| {
        end.rows[0].applied = false;
        end.resources.get_mut("a").unwrap().version = 2;
    };
    assert_eq!(broken(superseded), [3]);
}

#[test]
fn an_outage_blamed_on_an_event() {
    let letter = |key: &str, reason: &str| Letter {
        key: key.into(),
        value: "{}".into(),
        id: Some("2".into()),
        reason: reason.into(),
    };
    assert_eq!(broken(|_, end| end.letters.push(letter("a", "failed"))), [4]);
    assert_eq!(broken(|_, end| end.letters.push(letter("r", "rejected"))), [4]);
}

#[test]
fn poison_that_was_passed_over() {
    assert_eq!(broken(|_, end| drop(end.letters.remove(0))), [2]);
}

#[test]
fn a_read_older_than_a_fence() {
    assert_eq!(broken(|history, _| history.reads[1].version = 1), [5]);
    assert_eq!(broken(|history, _| history.reads[2].version = 2), [5]);
    let excused = |history: &mut History, _: &mut End| {
        history.reads[2].version = 2;
        history.redis_away.push((at(3), at(4)));
    };
    assert_eq!(broken(excused), [0_u8; 0], "Redis was cut off less than a TTL before");
    let too_late = |history: &mut History, _: &mut End| {
        history.reads[2].version = 2;
        history.redis_away.push((at(1), at(2)));
    };
    assert_eq!(broken(too_late), [5]);
}

#[test]
fn a_cached_body_that_is_not_its_row() {
    assert_eq!(broken(|_, end| drop(end.cached.insert("a".into(), body(2)))), [5]);
    assert_eq!(broken(|_, end| drop(end.cached.insert("nobody".into(), body(1)))), [5]);
}
