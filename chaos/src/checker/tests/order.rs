//! Promise 3: order per device.

use super::*;

#[test]
fn a_state_that_is_not_the_last_event() {
    assert_eq!(broken(|_, end| end.resources.get_mut("a").unwrap().event = "2".into()), [3]);
    breaks([3], "across partitions", |history, end| {
        moved(history, end);
        end.resources.get_mut("a").unwrap().event = "2".into();
    });
}

/// Swaps two events in the log and in the tables.
fn swap(end: &mut End, one: usize, other: usize) {
    let (a, b) = (end.log[one].clone(), end.log[other].clone());
    (end.log[one].id, end.log[other].id) = (b.id.clone(), a.id.clone());
    let (a, b) = (end.rows[one].clone(), end.rows[other].clone());
    (end.rows[one].id, end.rows[one].payload) = (b.id, b.payload);
    (end.rows[other].id, end.rows[other].payload) = (a.id, a.payload);
}

#[test]
fn a_log_in_another_order_than_that_of_the_posts() {
    breaks([3], "of two posts", |history, end| {
        history.reads.clear();
        swap(end, 0, 1);
    });
    let in_a_batch = |history: &mut History, end: &mut End| {
        history.reads.clear();
        swap(end, 1, 2);
        state(end, 3, "2");
    };
    breaks([3], "within a batch", in_a_batch);
    breaks([3], "across partitions", |history, end| {
        moved(history, end);
        in_a_batch(history, end);
    });
}

#[test]
fn an_event_that_was_not_acknowledged_when_the_next_was_sent_may_stand_behind_it() {
    breaks(NOTHING, "late", |history, end| {
        history.reads.clear();
        let again = Place { post: 3, index: 0, at: at(3) };
        history.sent.get_mut("a").unwrap()[1].acknowledged = Some(again);
        swap(end, 1, 2);
        state(end, 3, "2");
    });
}

#[test]
fn an_event_that_was_passed_over() {
    let passed_over = |history: &mut History, end: &mut End| {
        history.reads.clear();
        end.rows[0].applied = false;
        state(end, 2, "3");
    };
    assert_eq!(broken(passed_over), [3]);
    breaks(
        [3],
        "beside the newer: only a dead letter may come behind what is newer in its partition",
        |history, end| {
            passed_over(history, end);
            end.rows[0].transaction = end.rows[1].transaction;
        },
    );
    breaks(NOTHING, "newer in another partition", |history, end| {
        moved(history, end);
        history.reads.clear();
        end.rows[1].applied = false;
        state(end, 2, "3");
    });
    breaks([3], "older in another partition: that one does not explain it", |history, end| {
        history.reads.clear();
        (end.log[0].partition, end.rows[0].partition) = (7, 7);
        end.rows[1].applied = false;
        state(end, 2, "3");
    });
}

/// Event 1 of "r" became a dead letter, event 2 was applied, and the worker ended before its commit:
/// the next worker reads event 1 again.
fn read_again(end: &mut End, applied: bool) {
    let refused = row(&record("r", 1, 1));
    end.rows.push(Row { applied, transaction: 5_000, ..refused });
}

#[test]
fn a_dead_letter_that_is_read_again_comes_behind_the_newer_state() {
    assert_eq!(broken(|_, end| read_again(end, false)), NOTHING);
    breaks([3], "never a letter: event 2 was let through", |_, end| {
        read_again(end, false);
        end.letters.remove(1);
    });
    breaks([3], "over the newer state", |_, end| {
        read_again(end, true);
        end.resources.insert("r".into(), Resource { version: 2, event: "2".into(), body: body(2) });
    });
    breaks([3], "behind an older one: that one does not explain it", |_, end| {
        end.letters[1] = letter("r", "2", "failed", REFUSED);
        end.rows[3].applied = false;
        end.rows.push(row(&record("r", 1, 1)));
        end.resources.insert("r".into(), Resource { version: 1, event: "1".into(), body: body(1) });
    });
    breaks([3], "before anything newer: it was passed over, and nothing newer was there yet", |_, end| {
        read_again(end, false);
        end.rows[4].transaction = 500;
        end.rows[3].transaction = 600;
    });
}

#[test]
fn a_later_event_that_was_let_through_before_a_held_one() {
    let let_through = |history: &mut History, end: &mut End| {
        history.reads.clear();
        end.rows[0].transaction = 2_500;
    };
    assert_eq!(broken(let_through), [3]);
    breaks([3], "partitions added", |history, end| {
        moved(history, end);
        let_through(history, end);
    });
    breaks(NOTHING, "beside another partition", |history, end| {
        moved(history, end);
        end.rows[1].transaction = 4_000;
    });
    breaks(NOTHING, "at once: in one transaction they are in order", |_, end| end.rows[0].transaction = 2_000);
}

#[test]
fn an_event_that_counts_by_its_second_copy() {
    breaks([3], "second", |history, end| {
        history.reads.clear();
        let copy = Record { offset: 25, appended: 2_500, ..end.log[0].clone() };
        (end.rows[0].offset, end.rows[0].appended) = (25, 2_500);
        end.log.push(copy);
    });
    breaks(NOTHING, "in another partition: which of two partitions is read first is open", |history, end| {
        history.reads.clear();
        let copy = Record { partition: 7, offset: 0, appended: 2_500, ..end.log[0].clone() };
        (end.rows[0].partition, end.rows[0].offset, end.rows[0].appended) = (7, 0, 2_500);
        end.log.push(copy);
    });
    breaks(NOTHING, "after a dead letter: its first copy was refused", |_, end| {
        let copy = Record { offset: 25, appended: 2_500, ..record("r", 1, 1) };
        end.rows.push(row(&copy));
        end.log.push(copy);
        end.resources.insert("r".into(), Resource { version: 2, event: "1".into(), body: body(2) });
    });
}

#[test]
fn a_version_that_was_another_event() {
    assert_eq!(broken(|history, _| history.reads[1] = Read { version: 2, ..read(5, 1) }), [3]);
    breaks([3], "one version two states", |history, end| {
        moved(history, end);
        history.reads.push(Read { event: "1".into(), payload: payload(1), ..history.reads[1].clone() });
    });
}
