//! Promises 1 and 2: a 202 is never false, and every accepted event has exactly one effect.

use super::*;

#[test]
fn an_accepted_event_that_is_not_in_the_log() {
    assert!(broken(|_, end| drop((end.log.remove(1), end.rows.remove(1)))).contains(&1));
}

#[test]
fn an_event_that_was_never_acknowledged_may_be_there() {
    breaks(NOTHING, "unacknowledged", |_, end| {
        let record = record("a", 4, 0);
        end.rows.push(row(&record));
        end.log.push(record);
        state(end, 4, "4");
    });
}

#[test]
fn an_event_in_the_log_without_an_effect() {
    assert!(broken(|_, end| drop(end.rows.remove(1))).contains(&2));
    assert_eq!(broken(|_, end| drop(end.letters.remove(1))), [2], "not even a dead letter");
    breaks([2], "unacknowledged: nobody was told that it is there; it is there all the same", |_, end| {
        end.log.push(record("a", 4, 0))
    });
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
    breaks([2], "from nowhere: it has a row, and never was in the log", |history, end| {
        history.sent.get_mut("a").unwrap().remove(0);
        end.log.remove(0);
    });
}

#[test]
fn a_version_that_counts_wrong() {
    assert_eq!(broken(|_, end| end.resources.get_mut("a").unwrap().version = 4), [2]);
    assert_eq!(broken(|_, end| drop((end.resources.remove("a"), end.cached.clear()))), [2]);
}

#[test]
fn an_event_that_became_another() {
    assert_eq!(broken(|_, end| end.rows[0].payload = payload(2)), [2]);
    assert_eq!(broken(|_, end| end.letters[1].value = payload(2).to_string()), [2]);
    assert_eq!(broken(|history, _| history.reads[1].payload = payload(1)), [2]);
}

#[test]
fn a_version_that_never_was() {
    assert_eq!(broken(|history, _| history.reads.push(read(10, 4))), [2]);
}

#[test]
fn poison_that_was_passed_over() {
    assert_eq!(broken(|_, end| drop(end.letters.remove(0))), [2]);
}

#[test]
fn an_event_of_a_transaction_that_was_aborted() {
    let with_a_row = |_: &mut History, end: &mut End| end.rows.push(row(&record("a", 9, 0)));
    assert!(broken(with_a_row).contains(&2));
    let says = |found: Vec<Broken>, what: &str| found.iter().any(|broken| broken.what == what);
    assert!(says(found(with_a_row), "event 9 was aborted, and had an effect"));
    let with_a_letter = |_: &mut History, end: &mut End| end.letters.push(letter("a", "9", "failed", REFUSED));
    assert!(says(found(with_a_letter), "event 9 was aborted, and became a dead letter"));
    let in_the_log = |_: &mut History, end: &mut End| end.log.push(record("a", 9, 0));
    assert!(says(found(in_the_log), "event 9 is in the log, and nobody sent it"));
}

#[test]
fn an_event_of_a_transaction_that_was_committed() {
    // The producer saw the commit succeed, as a device sees a 202.
    let committed = |history: &mut History, end: &mut End| {
        history.sent.insert("transactions-0".into(), vec![sent(1, 1, 0)]);
        let record = record("transactions-0", 1, 0);
        end.rows.push(row(&record));
        end.resources.insert("transactions-0".into(), Resource { version: 1, event: "1".into(), body: body(1) });
        end.log.push(record);
    };
    assert_eq!(broken(committed), NOTHING);
    breaks([2], "without an effect", |history, end| {
        committed(history, end);
        end.rows.pop();
        end.resources.remove("transactions-0");
    });
    breaks([2], "twice", |history, end| {
        committed(history, end);
        end.rows.push(end.rows.last().unwrap().clone());
    });
}

#[test]
fn a_record_from_the_wire_that_was_passed_over_or_that_nobody_wrote() {
    assert_eq!(broken(|_, end| drop(end.letters.remove(2))), [2]);
    assert_eq!(broken(|_, end| end.letters.push(of_wire("1"))), NOTHING, "its acknowledgement was lost");
    assert_eq!(broken(|_, end| end.letters.push(of_wire("2"))), [4]);
    assert_eq!(broken(|_, end| end.letters[2].reason = "panicked".into()), [4]);
}

#[test]
fn a_letter_from_the_wire_that_lost_its_mark_with_its_headers_is_known_by_its_record() {
    let lost = |history: &mut History, end: &mut End| {
        history.letters_refused.push(Span { from: at(1), to: at(2) });
        let at = (end.letters[2].partition, end.letters[2].offset);
        let of_wire = Record { id: None, wire: Some("0".into()), ..record("y", 0, 1) };
        end.log.push(Record { partition: at.0, offset: at.1, ..of_wire });
        end.letters[2] = Letter { wire: None, print: None, cut: true, ..end.letters[2].clone() };
    };
    assert_eq!(found(lost), []);
    breaks([2], "there was room for it", |history, end| {
        lost(history, end);
        history.letters_refused.clear();
    });
    breaks([2, 4], "whole: it lost its mark and was not cut", |history, end| {
        lost(history, end);
        end.letters[2].cut = false;
    });
}

#[test]
fn a_dead_letter_that_does_not_hold_its_record() {
    let other = |_: &mut History, end: &mut End| end.letters[2].print = Some("key 1, value null".into());
    assert_eq!(broken(other), [2]);
    assert_eq!(broken(|_, end| end.letters[2].print = None), [2]);
    let cut = |history: &mut History, end: &mut End| {
        other(history, end);
        end.letters[2].cut = true;
    };
    assert_eq!(broken(cut), [2], "there was room for it");
    breaks(NOTHING, "refused", |history, end| {
        cut(history, end);
        history.letters_refused.push(Span { from: at(1), to: at(2) });
    });
}
