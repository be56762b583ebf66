use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const AGGREGATES: [&str; 3] = ["a", "b", "c"];

fn row(id: i64, aggregate: &str, sequence: i64) -> Numbered<'_> {
    Numbered { id, aggregate, sequence }
}

/// A command: it takes the lock of its aggregate, draws a number and an id, and commits later.
#[derive(Debug, Clone, Copy)]
struct Command {
    aggregate: usize,
    /// Seconds from the one before to its begin, and from there to its commit.
    after: u64,
    takes: u64,
}

fn command() -> impl Strategy<Value = Command> {
    // Mostly short ones, some longer than the window knows of.
    let takes = prop_oneof![8 => 0_u64..3, 1 => 50_u64..70, 1 => 100_u64..400];
    (0..AGGREGATES.len(), 0_u64..40, takes).prop_map(|(aggregate, after, takes)| Command { aggregate, after, takes })
}

/// The rows of these commands, each with its commit. The next command of an aggregate waits for the one before.
fn rows(commands: &[Command]) -> Vec<(u64, Numbered<'static>)> {
    let mut free = [(0, 0); 3];
    let mut asked = 0;
    let mut drawn: Vec<(u64, u64, usize)> = Vec::new();
    for command in commands {
        asked += command.after;
        let from = asked.max(free[command.aggregate].0);
        free[command.aggregate].0 = from + command.takes + 1;
        drawn.push((from, from + command.takes, command.aggregate));
    }
    // Ids are drawn in the order of time.
    drawn.sort();
    let mut id = 0;
    let numbered = drawn.into_iter().map(|(_, commit, aggregate)| {
        free[aggregate].1 += 1;
        id += 1;
        (commit, row(id, AGGREGATES[aggregate], free[aggregate].1))
    });
    numbered.collect()
}

/// Publishes as a term does, with `often` reads each second and at most `most` rows a read. Returns what was published,
/// and the ids behind which was read.
fn publish(all: &[(u64, Numbered<'static>)], most: usize, often: u32) -> (Vec<Numbered<'static>>, Vec<i64>) {
    let (mut window, mut published, mut reads) = (Window::default(), Vec::new(), Vec::new());
    let mut gone = BTreeSet::new();
    let end = all.iter().map(|(commit, _)| commit + 130).max().unwrap_or(0) + all.len() as u64;
    for (second, now) in (0..end).flat_map(|second| {
        (0..often).map(move |part| (second, Duration::from_secs(second) + Duration::from_secs(1) * part / often))
    }) {
        let read = |after: i64, gone: &BTreeSet<i64>| {
            let there =
                all.iter().filter(|(commit, row)| *commit <= second && row.id > after && !gone.contains(&row.id));
            there.map(|(_, row)| *row).take(most).collect::<Vec<_>>()
        };
        let mut after = window.next(now);
        let mut found = read(after, &gone);
        if after > 0 && window.may_lack(&found) {
            after = 0;
            found = read(0, &gone);
        }
        assert_eq!(window.goes_back(&found), None, "a late commit does not look like a restore");
        window.read(now, after, &found, found.len() >= most);
        reads.push(after);
        gone.extend(found.iter().map(|row| row.id));
        window.published(now, &found);
        published.extend(found);
    }
    (published, reads)
}

proptest! {
    /// However long transactions take: every row is published once, and the numbers of an aggregate in order.
    #[test]
    fn nothing_is_missed_and_no_aggregate_is_out_of_order(
        commands in proptest::collection::vec(command(), 0..40), most in 1_usize..5, often in 1_u32..6,
    ) {
        let all = rows(&commands);
        let (published, _) = publish(&all, most, often);
        prop_assert_eq!(published.len(), all.len());
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for row in published {
            let before = last.insert(row.aggregate, row.sequence).unwrap_or(0);
            prop_assert_eq!(row.sequence, before + 1, "of {}", row.aggregate);
        }
    }
}

#[test]
fn reads_leave_out_what_was_published_long_ago() {
    let short = |_| Command { aggregate: 0, after: 1, takes: 0 };
    let all = rows(&(0..600).map(short).collect::<Vec<_>>());
    let (published, reads) = publish(&all, 1_000, 1);
    assert_eq!(published.len(), 600);
    // In the first minutes nothing is old enough; then one read in sixty begins at the first id.
    let whole = reads[200..600].iter().filter(|after| **after == 0).count();
    assert!((6..=8).contains(&whole), "{whole}");
    for (second, after) in (0..).zip(&reads[..600]).skip(200).filter(|(_, after)| **after > 0) {
        let behind = second - after;
        assert!((60..=125).contains(&behind), "{behind} rows at {second}");
    }
}

#[test]
fn while_more_rows_wait_reads_go_on_behind_the_last_one_and_look_back_each_second() {
    let (mut window, second) = (Window::default(), Duration::from_secs(1));
    let mut read = |now: Duration, rows: &[Numbered<'_>], is_full| {
        let after = window.next(now);
        window.read(now, after, rows, is_full);
        after
    };
    assert_eq!(read(second / 10, &[row(1, "a", 1), row(2, "b", 1)], true), 0);
    assert_eq!(read(second / 2, &[row(3, "a", 2), row(4, "b", 2)], true), 2);
    assert_eq!(read(second, &[row(6, "b", 3), row(7, "b", 4)], true), 4);
    // A row with a lower id was committed late.
    assert_eq!(read(second * 11 / 10, &[row(5, "c", 1), row(8, "a", 3)], true), 0, "a second later");
    assert_eq!(read(second * 3 / 2, &[row(9, "a", 4)], false), 8);
    assert_eq!(read(second * 8 / 5, &[], false), 0, "nothing was left");
}

#[test]
fn a_number_that_is_not_the_next_one_is_a_hole() {
    let mut window = Window::default();
    window.published(Duration::ZERO, &[row(1, "a", 1), row(2, "b", 7)]);
    for (rows, lacks) in [
        (&[row(3, "a", 2), row(4, "b", 8), row(5, "a", 3)][..], false),
        (&[row(3, "a", 3)], true),
        (&[row(3, "a", 2), row(4, "a", 4)], true),
        (&[row(3, "new", 1), row(4, "new", 2)], false),
        (&[row(3, "unknown", 2)], true),
        // A number of before: its row was there again, after a restore.
        (&[row(3, "b", 7)], false),
        (&[], false),
    ] {
        assert_eq!(window.may_lack(rows), lacks, "{rows:?}");
    }
}

#[test]
fn a_number_that_is_published_already_means_that_postgresql_went_back() {
    let mut window = Window::default();
    assert_eq!(window.goes_back(&[row(1, "a", 1)]), None);
    window.published(Duration::ZERO, &[row(1, "a", 1), row(2, "b", 7)]);
    for (rows, back) in [
        (&[row(3, "a", 2), row(4, "b", 8), row(5, "a", 3)][..], None),
        // A hole, which is another matter; and an aggregate of which nothing is known.
        (&[row(3, "a", 9), row(4, "unknown", 5)], None),
        (&[row(3, "a", 2), row(2, "b", 7)], Some("b")),
        (&[row(9, "b", 1)], Some("b")),
        (&[], None),
    ] {
        assert_eq!(window.goes_back(rows), back, "{rows:?}");
    }
}

#[test]
fn the_numbers_of_many_aggregates_are_known_and_not_of_all() {
    let mut last = LastNumbers::default();
    let names: Vec<_> = (0..3 * HALF_OF_KNOWN).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| last.set(name, 1));
    assert!(last.young.len() + last.old.len() <= 2 * HALF_OF_KNOWN);
    let known = names.iter().filter(|name| last.get(name).is_some()).count();
    assert!(known >= HALF_OF_KNOWN, "{known}");
    last.set("0", 5);
    assert_eq!((last.get("0"), last.get("1")), (Some(5), None));
}
