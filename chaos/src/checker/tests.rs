//! The checker on a history that is whole, and on each way of breaking it.

use std::time::Duration;

use super::*;
use crate::history::{Bounds, Commit, Place, Read};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn body(version: i64) -> String {
    format!(r#"{{"version":{version}}}"#)
}

fn payload(n: impl std::fmt::Display) -> serde_json::Value {
    serde_json::from_str(&format!(r#"{{"n":{n}}}"#)).unwrap()
}

fn sent(id: usize, post: usize, index: usize) -> Sent {
    let place = Place { post, index, at: at(post as u64) };
    Sent { id: id.to_string(), payload: payload(id), first: place, acknowledged: Some(place), times: 1 }
}

fn record(device: &str, id: i64, partition: i32) -> Record {
    Record {
        device: device.into(),
        id: Some(id.to_string()),
        value: None,
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

fn read(from: u64, version: i64) -> Read {
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
        partition: 1,
        offset: 10 * id.parse::<i64>().unwrap(),
        appended: 1_000,
        died: 15_000,
    }
}

const REFUSED: &str = "SQLSTATE P0001: refused";

/// A device with three events, of which the last two were posted at once, and one that was never
/// acknowledged; a refused one with a dead letter; poison, reads and commits.
fn whole() -> (History, End) {
    let history = History {
        sent: BTreeMap::from([
            (
                "a".into(),
                vec![sent(1, 1, 0), sent(2, 2, 0), sent(3, 2, 1), Sent { acknowledged: None, ..sent(4, 3, 0) }],
            ),
            ("r".into(), vec![sent(1, 1, 0), sent(2, 2, 0)]),
        ]),
        reads: vec![read(0, 0), read(5, 2), read(9, 3)],
        commits: vec![
            Commit { at: at(4), offsets: BTreeMap::from([(0, 21)]) },
            Commit { at: at(8), offsets: BTreeMap::from([(0, 31)]) },
        ],
        poison: BTreeSet::from(["garbage".into()]),
        refused: BTreeSet::from(["r".into()]),
        redis_away: vec![],
        postgres_away: vec![],
        workers_away: vec![],
        bounds: Bounds { ttl: at(20), fences_sent: at(1), store_timeout: at(2) },
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
        ],
        cached: BTreeMap::from([("a".into(), body(3))]),
        left: BTreeMap::new(),
    };
    (history, end)
}

/// What is found broken after this was done to the whole history.
fn found(change: impl FnOnce(&mut History, &mut End)) -> Vec<Broken> {
    let (mut history, mut end) = whole();
    change(&mut history, &mut end);
    check(&history, &end).broken
}

/// The promises among it.
fn broken(change: impl FnOnce(&mut History, &mut End)) -> Vec<u8> {
    let promises: BTreeSet<_> = found(change).into_iter().map(|broken| broken.promise).collect();
    promises.into_iter().collect()
}

const NOTHING: [u8; 0] = [];

/// Puts a later state of "a" into the tables.
fn state(end: &mut End, version: i64, event: &str) {
    end.resources.insert("a".into(), Resource { version, event: event.into(), body: body(version) });
    end.cached.clear();
}

/// Partitions were added behind event 2 of "a": event 3 lies in another.
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

#[test]
fn an_event_that_was_never_acknowledged_may_be_there() {
    let unacknowledged = |_: &mut History, end: &mut End| {
        let record = record("a", 4, 0);
        end.rows.push(row(&record));
        end.log.push(record);
        state(end, 4, "4");
    };
    assert_eq!(broken(unacknowledged), NOTHING);
}

#[test]
fn an_accepted_event_that_is_not_in_the_log() {
    let lost = |_: &mut History, end: &mut End| {
        end.log.remove(1);
        end.rows.remove(1);
    };
    assert!(broken(lost).contains(&1));
}

#[test]
fn an_event_in_the_log_without_an_effect() {
    assert!(broken(|_, end| drop(end.rows.remove(1))).contains(&2));
    assert_eq!(broken(|_, end| drop(end.letters.remove(1))), [2], "not even a dead letter");
    let unacknowledged = |_: &mut History, end: &mut End| end.log.push(record("a", 4, 0));
    assert_eq!(broken(unacknowledged), [2], "nobody was told that it is there; it is there all the same");
}

#[test]
fn a_partition_that_stands_still() {
    assert_eq!(broken(|_, end| end.left.extend([(0, (20, 31))])), [2]);
}

#[test]
fn a_row_twice() {
    assert!(broken(|_, end| end.rows.push(end.rows[0].clone())).contains(&2));
}

#[test]
fn an_event_that_nobody_sent() {
    assert_eq!(broken(|history, _| drop(history.sent.get_mut("a").unwrap().remove(0))), [2]);
    assert_eq!(broken(|_, end| drop(end.log.remove(3))), [1], "the refused one, which has no row");
    let from_nowhere = |history: &mut History, end: &mut End| {
        history.sent.get_mut("a").unwrap().remove(0);
        end.log.remove(0);
    };
    assert_eq!(broken(from_nowhere), [2], "it has a row, and never was in the log");
}

#[test]
fn a_version_that_counts_wrong() {
    assert_eq!(broken(|_, end| end.resources.get_mut("a").unwrap().version = 4), [2]);
    assert_eq!(broken(|_, end| drop((end.resources.remove("a"), end.cached.clear()))), [2]);
}

#[test]
fn a_state_that_is_not_the_last_event() {
    assert_eq!(broken(|_, end| end.resources.get_mut("a").unwrap().event = "2".into()), [3]);
    let across_partitions = |history: &mut History, end: &mut End| {
        moved(history, end);
        end.resources.get_mut("a").unwrap().event = "2".into();
    };
    assert_eq!(broken(across_partitions), [3]);
}

/// Exchanges two events' places in the log and in the tables.
fn swap(end: &mut End, one: usize, other: usize) {
    let (a, b) = (end.log[one].clone(), end.log[other].clone());
    (end.log[one].id, end.log[other].id) = (b.id.clone(), a.id.clone());
    let (a, b) = (end.rows[one].clone(), end.rows[other].clone());
    (end.rows[one].id, end.rows[one].payload) = (b.id, b.payload);
    (end.rows[other].id, end.rows[other].payload) = (a.id, a.payload);
}

#[test]
fn a_log_in_another_order_than_that_of_the_posts() {
    let swapped = |history: &mut History, end: &mut End| {
        history.reads.clear();
        swap(end, 0, 1);
    };
    assert_eq!(broken(swapped), [3]);
}

#[test]
fn a_log_in_another_order_than_that_of_a_batch() {
    let swapped = |history: &mut History, end: &mut End| {
        history.reads.clear();
        swap(end, 1, 2);
        state(end, 3, "2");
    };
    assert_eq!(broken(swapped), [3]);
}

#[test]
fn a_log_in_another_order_across_partitions() {
    let swapped = |history: &mut History, end: &mut End| {
        moved(history, end);
        history.reads.clear();
        swap(end, 1, 2);
        state(end, 3, "2");
    };
    assert_eq!(broken(swapped), [3]);
}

#[test]
fn an_event_that_was_not_acknowledged_when_the_next_was_sent_may_stand_behind_it() {
    let late = |history: &mut History, end: &mut End| {
        history.reads.clear();
        let again = Place { post: 3, index: 0, at: at(3) };
        history.sent.get_mut("a").unwrap()[1].acknowledged = Some(again);
        swap(end, 1, 2);
        state(end, 3, "2");
    };
    assert_eq!(broken(late), NOTHING);
}

#[test]
fn an_event_that_was_passed_over() {
    let passed_over = |history: &mut History, end: &mut End| {
        history.reads.clear();
        end.rows[0].applied = false;
        state(end, 2, "3");
    };
    assert_eq!(broken(passed_over), [3]);
    let beside_the_newer = |history: &mut History, end: &mut End| {
        passed_over(history, end);
        end.rows[0].transaction = end.rows[1].transaction;
    };
    assert_eq!(broken(beside_the_newer), [3], "only a dead letter may come behind what is newer in its partition");
    let newer_in_another_partition = |history: &mut History, end: &mut End| {
        moved(history, end);
        history.reads.clear();
        end.rows[1].applied = false;
        state(end, 2, "3");
    };
    assert_eq!(broken(newer_in_another_partition), NOTHING);
    let older_in_another_partition = |history: &mut History, end: &mut End| {
        history.reads.clear();
        (end.log[0].partition, end.rows[0].partition) = (7, 7);
        end.rows[1].applied = false;
        state(end, 2, "3");
    };
    assert_eq!(broken(older_in_another_partition), [3], "that one does not explain it");
}

/// Event 1 of "r" became a dead letter, event 2 was applied, and the worker ended before its commit:
/// its successor finds event 1 again.
fn read_again(end: &mut End, applied: bool) {
    let refused = row(&record("r", 1, 1));
    end.rows.push(Row { applied, transaction: 5_000, ..refused });
}

#[test]
fn a_dead_letter_that_is_read_again_comes_behind_the_newer_state() {
    assert_eq!(broken(|_, end| read_again(end, false)), NOTHING);
    let never_a_letter = |_: &mut History, end: &mut End| {
        read_again(end, false);
        end.letters.remove(1);
    };
    assert_eq!(broken(never_a_letter), [3], "event 2 was let through");
    let over_the_newer_state = |_: &mut History, end: &mut End| {
        read_again(end, true);
        end.resources.insert("r".into(), Resource { version: 2, event: "2".into(), body: body(2) });
    };
    assert_eq!(broken(over_the_newer_state), [3]);
    let behind_an_older_one = |_: &mut History, end: &mut End| {
        end.letters[1] = letter("r", "2", "failed", REFUSED);
        end.rows[3].applied = false;
        end.rows.push(row(&record("r", 1, 1)));
        end.resources.insert("r".into(), Resource { version: 1, event: "1".into(), body: body(1) });
    };
    assert_eq!(broken(behind_an_older_one), [3], "that one does not explain it");
    let before_anything_newer = |_: &mut History, end: &mut End| {
        read_again(end, false);
        end.rows[4].transaction = 500;
        end.rows[3].transaction = 600;
    };
    assert_eq!(broken(before_anything_newer), [3], "it was passed over, and nothing newer was there yet");
}

#[test]
fn a_later_event_that_was_let_through_before_a_held_one() {
    let let_through = |history: &mut History, end: &mut End| {
        history.reads.clear();
        end.rows[0].transaction = 2_500;
    };
    assert_eq!(broken(let_through), [3]);
    let partitions_added = |history: &mut History, end: &mut End| {
        moved(history, end);
        let_through(history, end);
    };
    assert_eq!(broken(partitions_added), [3]);
    let beside_another_partition = |history: &mut History, end: &mut End| {
        moved(history, end);
        end.rows[1].transaction = 4_000;
    };
    assert_eq!(broken(beside_another_partition), NOTHING);
    let at_once = |_: &mut History, end: &mut End| end.rows[0].transaction = 2_000;
    assert_eq!(broken(at_once), NOTHING, "in one transaction they are in order");
}

#[test]
fn an_event_that_counts_by_its_second_copy() {
    let second = |history: &mut History, end: &mut End| {
        history.reads.clear();
        let copy = Record { offset: 25, appended: 2_500, ..end.log[0].clone() };
        (end.rows[0].offset, end.rows[0].appended) = (25, 2_500);
        end.log.push(copy);
    };
    assert_eq!(broken(second), [3]);
    let in_another_partition = |history: &mut History, end: &mut End| {
        history.reads.clear();
        let copy = Record { partition: 7, offset: 0, appended: 2_500, ..end.log[0].clone() };
        (end.rows[0].partition, end.rows[0].offset, end.rows[0].appended) = (7, 0, 2_500);
        end.log.push(copy);
    };
    assert_eq!(broken(in_another_partition), NOTHING, "which of two partitions is read first is open");
    let after_a_dead_letter = |_: &mut History, end: &mut End| {
        let copy = Record { offset: 25, appended: 2_500, ..record("r", 1, 1) };
        let record = &copy;
        end.rows.push(row(record));
        end.log.push(copy);
        end.resources.insert("r".into(), Resource { version: 2, event: "1".into(), body: body(2) });
    };
    assert_eq!(broken(after_a_dead_letter), NOTHING, "its first copy was refused");
}

#[test]
fn a_version_that_was_another_event() {
    assert_eq!(broken(|history, _| history.reads[1] = Read { version: 2, ..read(5, 1) }), [3]);
    let one_version_two_states = |history: &mut History, end: &mut End| {
        moved(history, end);
        let other = Read { event: "1".into(), payload: payload(1), ..history.reads[1].clone() };
        history.reads.push(other);
    };
    assert_eq!(broken(one_version_two_states), [3]);
}

#[test]
fn an_event_that_became_another() {
    assert_eq!(broken(|_, end| end.rows[0].payload = payload(2)), [2]);
    assert_eq!(broken(|_, end| end.letters[1].value = payload(2).to_string()), [2]);
    assert_eq!(broken(|history, _| history.reads[1].payload = payload(1)), [2]);
}

#[test]
fn a_version_that_never_was() {
    let read = |history: &mut History, _: &mut End| history.reads.push(read(10, 4));
    assert_eq!(broken(read), [2]);
}

#[test]
fn an_outage_blamed_on_an_event() {
    let more = |letter: Letter| move |_: &mut History, end: &mut End| end.letters.push(letter);
    assert_eq!(broken(more(letter("a", "2", "failed", REFUSED))), [4], "nobody refused that device");
    assert_eq!(broken(more(letter("r", "2", "rejected", REFUSED))), [4]);
    assert_eq!(broken(more(letter("r", "2", "failed", "SQLSTATE 53100: no space left"))), [4]);
    assert_eq!(broken(more(letter("r", "2", "failed", REFUSED))), NOTHING, "beside a row, after a crash");
    let undecodable = letter("a", "2", "undecodable", "");
    assert_eq!(broken(more(undecodable)), [4]);
}

#[test]
fn a_dead_letter_without_its_tries() {
    assert_eq!(broken(|_, end| end.letters[1].died = 14_999), [4], "four tries, without their waits");
    for attempts in [0, 1, 3, 5] {
        assert_eq!(broken(|_, end| end.letters[1].attempts = attempts), [4], "{attempts} tries");
    }
    let second = || Letter { attempts: 1, died: 15_001, ..letter("r", "2", "failed", REFUSED) };
    let at_once = |letter: Letter| move |_: &mut History, end: &mut End| end.letters.push(letter);
    assert_eq!(broken(at_once(second())), NOTHING, "behind another one a single try is enough");
    let behind_an_event = |_: &mut History, end: &mut End| {
        end.letters.push(second());
        end.letters.remove(1);
        end.rows.push(row(&record("r", 1, 1)));
        end.resources.insert("r".into(), Resource { version: 2, event: "2".into(), body: body(2) });
    };
    assert_eq!(broken(behind_an_event), [4], "the one before it was applied");
    let behind_poison = |_: &mut History, end: &mut End| {
        end.letters.push(second());
        end.log.push(Record { id: None, offset: 15, ..record("r", 1, 1) });
    };
    assert_eq!(broken(behind_poison), NOTHING, "what is no event says nothing of the device");
    let behind_one_of_another_partition = |_: &mut History, end: &mut End| {
        end.letters.push(second());
        end.letters[1].partition = 2;
    };
    assert_eq!(broken(behind_one_of_another_partition), [4]);
}

#[test]
fn poison_that_was_passed_over() {
    assert_eq!(broken(|_, end| drop(end.letters.remove(0))), [2]);
}

#[test]
fn a_read_older_than_a_fence() {
    let older = |history: &mut History, _: &mut End| history.reads[1] = read(5, 1);
    assert_eq!(broken(older), [5]);
    assert_eq!(broken(|history, _| history.reads[2] = read(9, 2)), [5]);
    assert_eq!(broken(|history, _| history.reads[2] = read(9, 0)), [5], "a 404 for what is there");
    let across_partitions = |history: &mut History, end: &mut End| {
        moved(history, end);
        history.reads[2] = read(9, 2);
    };
    assert_eq!(broken(across_partitions), [5]);
}

/// A read at 9 s gave version 2; 3 was fenced at 8 s, 2 at 4 s.
fn stale(history: &mut History) {
    history.reads[2] = read(9, 2);
}

#[test]
fn a_read_while_fences_are_put_off() {
    let excused = |history: &mut History, _: &mut End| {
        stale(history);
        history.redis_away.push((at(5), at(8)));
    };
    assert_eq!(broken(excused), NOTHING, "Redis was back less than a second ago");
    let (mut history, mut end) = whole();
    excused(&mut history, &mut end);
    assert_eq!(check(&history, &end).excused, 2, "the one at 5 s, and the one at 9 s");
    assert_eq!(excused_until(&history), at(9));
    let past_the_cache = |history: &mut History, end: &mut End| {
        excused(history, end);
        history.reads[2].bypass = true;
    };
    assert_eq!(broken(past_the_cache), [5], "PostgreSQL had it");
    let never_sent = |history: &mut History, _: &mut End| {
        stale(history);
        history.redis_away.push((at(5), at(7)));
    };
    assert_eq!(broken(never_sent), [5], "all fences were sent by 8 s");
    let before_it_was_away = |history: &mut History, _: &mut End| {
        history.reads[2] = read(9, 1);
        history.redis_away.push((at(5), at(8)));
    };
    assert_eq!(broken(before_it_was_away), [5], "2 was fenced at 4 s");
    let without_postgres = |history: &mut History, end: &mut End| {
        never_sent(history, end);
        history.postgres_away.push((at(2), at(6)));
    };
    assert_eq!(broken(without_postgres), NOTHING, "the fence waited for PostgreSQL, too");
    let postgres_was_back = |history: &mut History, end: &mut End| {
        never_sent(history, end);
        history.postgres_away.push((at(2), at(4)));
    };
    assert_eq!(broken(postgres_was_back), [5]);
}

#[test]
fn a_read_after_a_worker_ended_with_fences_put_off() {
    let lost = |history: &mut History| {
        history.redis_away.push((at(5), at(6)));
        history.workers_away.push((at(6), at(6)));
        history.reads.push(read(26, 2));
    };
    assert_eq!(broken(|history, _| lost(history)), NOTHING, "what it was for may be in the cache for a TTL");
    let gone = |history: &mut History, _: &mut End| {
        lost(history);
        history.reads.push(read(28, 2));
    };
    assert_eq!(broken(gone), [5], "nothing lives longer than that");
    let made_up_for = |history: &mut History, _: &mut End| {
        lost(history);
        history.sent.get_mut("a").unwrap()[2].first.at = Duration::from_millis(7_500);
    };
    assert_eq!(broken(made_up_for), [5], "event 3 had a fence of its own");
    // Two asked after all was well again say that event 3 had not had its effect.
    let commit = |at_: u64, offset| Commit { at: at(at_), offsets: BTreeMap::from([(0, offset)]) };
    let not_put_off = |history: &mut History, _: &mut End| {
        lost(history);
        history.reads.retain(|read| read.version < 3);
        history.commits = vec![commit(4, 21), commit(8, 21), commit(9, 21), commit(10, 31)];
    };
    assert_eq!(broken(not_put_off), [5], "it was known to have its effect much later");
    let stood_still = |history: &mut History, end: &mut End| {
        not_put_off(history, end);
        history.workers_away = vec![(at(6), at(9))];
    };
    assert_eq!(broken(stood_still), NOTHING, "a worker commits and sends side by side when it goes on");
    let ended_before = |history: &mut History, _: &mut End| {
        lost(history);
        history.workers_away[0] = (at(4), at(4));
    };
    assert_eq!(broken(ended_before), [5], "it had nothing put off");
}

#[test]
fn a_read_that_went_back() {
    // Version 3 is fenced at 8 s only; who has seen it before expects it all the same.
    let back = |history: &mut History, _: &mut End| history.reads.extend([read(6, 3), read(7, 2)]);
    assert_eq!(broken(back), [5]);
    let excused = |history: &mut History, end: &mut End| {
        back(history, end);
        history.redis_away.push((at(5), at(6)));
    };
    assert_eq!(broken(excused), NOTHING);
    let too_late = |history: &mut History, end: &mut End| {
        back(history, end);
        history.redis_away.push((at(4), at(5)));
    };
    assert_eq!(broken(too_late), [5]);
    let past_the_cache = |history: &mut History, _: &mut End| {
        history.reads.extend([Read { bypass: true, ..read(6, 3) }, read(7, 2)]);
    };
    assert_eq!(broken(past_the_cache), NOTHING, "the cache has not heard of it");
    let together = |history: &mut History, _: &mut End| {
        history.reads.push(Read { to: at(7), ..read(6, 3) });
        history.reads.push(read(7, 2));
    };
    assert_eq!(broken(together), NOTHING, "they overlap");
}

#[test]
fn a_cached_body_that_is_not_its_row() {
    assert_eq!(broken(|_, end| drop(end.cached.insert("a".into(), body(2)))), [5]);
    assert_eq!(broken(|_, end| drop(end.cached.insert("nobody".into(), body(1)))), [5]);
    assert_eq!(
        broken(|_, end| drop(end.cached.insert("nobody".into(), shared::cache::MISSING.into()))),
        NOTHING,
        "it says so"
    );
}
