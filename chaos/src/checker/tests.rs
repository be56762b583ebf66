//! The checker on an intact history, and on each way of breaking it.

pub(crate) mod budgets;
mod effects;
mod fences;
mod order;
mod outages;
mod placements;
mod seed_9001;

use std::time::Duration;

use super::*;
use crate::history::{Bounds, Commit, Place, Read, Span, WorkerAway, Written};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn span(from: u64, to: u64) -> Span {
    Span { from: at(from), to: at(to) }
}

pub(crate) fn ended(worker: u32, at_: u64) -> WorkerAway {
    WorkerAway { worker, ended: true, span: span(at_, at_) }
}

pub(crate) fn stood_still(worker: u32, from: u64, to: u64) -> WorkerAway {
    WorkerAway { worker, ended: false, span: span(from, to) }
}

/// A commit of partition 0 up to this offset.
fn commit(at: f64, offset: i64) -> Commit {
    Commit { at: Duration::from_secs_f64(at), offsets: BTreeMap::from([(0, offset)]) }
}

fn body(version: i64) -> String {
    format!(r#"{{"version":{version}}}"#)
}

fn payload(n: impl std::fmt::Display) -> serde_json::Value {
    serde_json::from_str(&format!(r#"{{"n":{n}}}"#)).unwrap()
}

pub(crate) fn sent(id: usize, post: usize, index: usize) -> Sent {
    let place = Place { post, index, at: at(post as u64) };
    Sent { id: id.to_string(), payload: payload(id), first: place, acknowledged: Some(place), times: 1 }
}

pub(crate) fn record(device: &str, id: i64, partition: i32) -> Record {
    Record {
        device: device.into(),
        id: Some(id.to_string()),
        value: None,
        wire: None,
        partition,
        offset: 10 * id,
        appended: 1_000 * id,
    }
}

fn row(record: &Record) -> Row {
    Row {
        device: record.device.clone(),
        id: record.id.clone().unwrap(),
        transaction: record.appended,
        applied: true,
        partition: record.partition,
        offset: record.offset,
        appended: record.appended,
        payload: payload(record.id.as_deref().unwrap()),
    }
}

pub(crate) fn read(from: u64, version: i64) -> Read {
    let event = if version > 0 { version.to_string() } else { String::new() };
    Read { device: "a".into(), from: at(from), to: at(from), version, event, payload: payload(version), bypass: false }
}

fn letter(key: &str, id: &str, reason: &str, error: &str) -> Letter {
    Letter {
        key: key.into(),
        value: payload(id).to_string(),
        id: Some(id.into()),
        reason: reason.into(),
        error: error.into(),
        attempts: 4,
        wire: None,
        print: None,
        cut: false,
        partition: 1,
        offset: 10 * id.parse::<i64>().unwrap(),
        appended: 1_000,
        died: 15_000,
    }
}

fn written(print: &str, acknowledged: bool) -> Written {
    Written { acknowledged, print: print.into() }
}

/// The letter of a raw record, with the same content.
pub(crate) fn of_wire(mark: &str) -> Letter {
    let letter = letter("y", "0", "undecodable", "has no header");
    Letter { wire: Some(mark.into()), print: Some(mark.into()), id: None, ..letter }
}

const REFUSED: &str = "SQLSTATE P0001: refused";

/// A campaign ([`budgets::whole_ads`]); a device with three acknowledged events, the last two from one post, and a fourth without an acknowledgement; a
/// refused device with a dead letter; poison, reads and commits.
pub(crate) fn whole() -> (History, End) {
    let (ads, ads_end) = budgets::whole_ads();
    let (placements, placements_end) = placements::whole_placements(&ads_end);
    let history = History {
        sent: BTreeMap::from([
            (
                "a".into(),
                vec![sent(1, 1, 0), sent(2, 2, 0), sent(3, 2, 1), Sent { acknowledged: None, ..sent(4, 3, 0) }],
            ),
            ("r".into(), vec![sent(1, 1, 0), sent(2, 2, 0)]),
        ]),
        reads: vec![read(0, 0), read(5, 2), read(9, 3)],
        commits: vec![commit(4.0, 21), commit(8.0, 31)],
        poison: BTreeSet::from(["garbage".into()]),
        // The second was not acknowledged, and may or may not exist.
        wire: BTreeMap::from([("0".into(), written("0", true)), ("1".into(), written("1", false))]),
        letters_refused: vec![],
        refused: BTreeSet::from(["r".into()]),
        aborted: BTreeMap::from([("a".into(), BTreeSet::from(["9".into()]))]),
        redis_away: vec![],
        postgres_away: vec![],
        workers_away: vec![],
        bounds: Bounds { ttl: at(20), fill_delay: at(2), fences_sent: at(1), store_timeout: at(2) },
        ads,
        placements,
    };
    let a: Vec<_> = (1..=3).map(|id| record("a", id, 0)).collect();
    let r: Vec<_> = (1..=2).map(|id| record("r", id, 1)).collect();
    let poison = Record { id: None, offset: 15, ..record("x", 1, 0) };
    let end = End {
        rows: a.iter().chain(&r[1..]).map(row).collect(),
        log: a.into_iter().chain(r).chain([poison]).collect(),
        resources: BTreeMap::from([
            ("a".into(), Resource { version: 3, event: "3".into(), body: body(3) }),
            ("r".into(), Resource { version: 1, event: "2".into(), body: body(1) }),
        ]),
        letters: vec![
            Letter { value: "garbage".into(), id: None, ..letter("x", "0", "undecodable", "is no JSON") },
            letter("r", "1", "failed", REFUSED),
            of_wire("0"),
        ],
        cached: BTreeMap::from([("a".into(), body(3))]),
        left: BTreeMap::new(),
        ads: ads_end,
        placements: placements_end,
    };
    (history, end)
}

/// The broken promises that the checker finds after this change to the intact history.
fn found(change: impl FnOnce(&mut History, &mut End)) -> Vec<Broken> {
    let (mut history, mut end) = whole();
    change(&mut history, &mut end);
    check(&history, &end).broken
}

/// The numbers of the broken promises.
fn broken(change: impl FnOnce(&mut History, &mut End)) -> Vec<u8> {
    let promises: BTreeSet<_> = found(change).into_iter().map(|broken| broken.promise).collect();
    promises.into_iter().collect()
}

/// The change breaks exactly these promises.
#[track_caller]
fn breaks<const N: usize>(promises: [u8; N], what: &str, change: impl FnOnce(&mut History, &mut End)) {
    assert_eq!(broken(change), promises, "{what}");
}

const NOTHING: [u8; 0] = [];

/// Sets another state of "a" in the tables.
fn state(end: &mut End, version: i64, event: &str) {
    end.resources.insert("a".into(), Resource { version, event: event.into(), body: body(version) });
    end.cached.clear();
}

/// Partitions were added after event 2 of "a": event 3 is in another one.
fn moved(history: &mut History, end: &mut End) {
    (end.log[2].partition, end.rows[2].partition) = (7, 7);
    for commit in &mut history.commits {
        commit.offsets.insert(7, if commit.at == at(8) { 31 } else { 0 });
    }
}

#[test]
fn a_whole_history_is_whole() {
    assert_eq!(found(|_, _| {}), []);
    assert_eq!(found(moved), []);
}
