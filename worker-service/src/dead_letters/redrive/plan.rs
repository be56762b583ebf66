//! The order in which letters are sent back. Pure.
//!
//! Of a letter only its positions and a hash of its key are kept, some 80 bytes: values are read again when they are
//! sent, one at a time. A key's letters nearly always lie in the dead-letter topic in the order of their origins,
//! because that is the order in which they failed; these are sent in the order of the topic, in one pass. The letters
//! of any other key (one was written twice around a crash, an event failed again after a redrive, partitions were
//! added) are fetched one by one, in order of origin.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::dead_letters::summary::{LetterSummary, RecordPlace, hash};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedRecord {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// A hash of the key. Each record without a key counts as its own key, identified by its origin.
    pub(super) key: u64,
    pub(super) redrives: u32,
    origin: Origin,
}

/// The original position of an event. The topic is hashed, because each letter may name another one, of any length; a
/// collision counts as the same topic. Ordered by topic, partition, offset, time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Origin {
    topic: u64,
    partition: i32,
    offset: i64,
    timestamp: i64,
}

impl PlannedRecord {
    /// `None` for a letter without an origin.
    pub(super) fn of(letter: &LetterSummary) -> Option<Self> {
        let RecordPlace { topic, partition, offset, timestamp } = letter.origin.as_ref()?;
        let origin = Origin { topic: hash(topic), partition: *partition, offset: *offset, timestamp: *timestamp };
        let key = letter.key_hash.unwrap_or_else(|| hash(origin));
        Some(Self { partition: letter.partition, offset: letter.offset, key, redrives: letter.redrives, origin })
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Sent in one pass over the topic, by partition and offset.
    pub(super) streamed: Vec<PlannedRecord>,
    /// Fetched one by one, in this order.
    pub(super) picked: Vec<PlannedRecord>,
    /// Letters of an event of which there is a later letter.
    pub(super) repeated: usize,
    /// Redriven too often.
    pub(super) refused: Vec<PlannedRecord>,
}

/// Plans one letter for each event, and at most `limit` in all.
pub(super) fn plan(mut once: Vec<PlannedRecord>, max_redrives: Option<u32>, limit: Option<usize>) -> Plan {
    let (mut plan, all) = (Plan::default(), once.len());
    // Of each event the letter with the most redrives, and of these the last one.
    once.sort_unstable_by_key(|e| (e.origin, e.key, Reverse((e.redrives, e.offset)), e.partition));
    once.dedup_by_key(|entry| (entry.origin, entry.key));
    plan.repeated = all - once.len();
    if let Some(max) = max_redrives {
        (plan.refused, once) = once.into_iter().partition(|entry| entry.redrives >= max);
    }
    sort_by_origin(&mut once);
    for run in once.chunk_by(|a, b| a.key == b.key) {
        let in_order = run.is_sorted_by(|a, b| a.partition == b.partition && a.offset < b.offset);
        if in_order { plan.streamed.extend(run) } else { plan.picked.extend(run) }
    }
    plan.streamed.sort_unstable_by_key(|entry| (entry.partition, entry.offset));
    // The limit cuts the ends, so that the earliest letters of each key remain.
    let limit = limit.unwrap_or(usize::MAX);
    plan.streamed.truncate(limit);
    plan.picked.truncate(limit.saturating_sub(plan.streamed.len()));
    plan
}

/// Sorts by key, then by origin: offsets order the events within a partition. A key changed its partition at most once,
/// so that its partitions follow in order of time.
fn sort_by_origin(entries: &mut [PlannedRecord]) {
    let mut began: HashMap<(u64, u64, i32), i64> = HashMap::new();
    for entry in entries.iter() {
        let first = began.entry((entry.key, entry.origin.topic, entry.origin.partition)).or_insert(i64::MAX);
        *first = (*first).min(entry.origin.timestamp);
    }
    entries.sort_by_cached_key(|entry| {
        let began = began.get(&(entry.key, entry.origin.topic, entry.origin.partition)).copied();
        (entry.key, began, entry.origin)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::summary::STREAM;
    use proptest::prelude::*;
    use shared::kafka::Record;

    fn letter(key: &str, partition: i32, offset: i64, origin: i64, redrives: u32) -> LetterSummary {
        keyed(Some(key.as_bytes()), partition, offset, origin, redrives)
    }

    fn keyed(key: Option<&[u8]>, partition: i32, offset: i64, origin: i64, redrives: u32) -> LetterSummary {
        let mut letter = LetterSummary::of(&Record::new(key, None, &[]), &STREAM);
        (letter.partition, letter.offset, letter.redrives) = (partition, offset, redrives);
        letter.origin = Some(RecordPlace { topic: "in".into(), partition: 0, offset: origin, timestamp: origin });
        letter
    }

    fn plan(letters: &[LetterSummary], max: Option<u32>, limit: Option<usize>) -> Plan {
        super::plan(letters.iter().filter_map(PlannedRecord::of).collect(), max, limit)
    }

    fn places(entries: &[PlannedRecord]) -> Vec<(i32, i64)> {
        entries.iter().map(|entry| (entry.partition, entry.offset)).collect()
    }

    #[test]
    fn what_lies_in_order_is_streamed_and_the_rest_is_picked_in_order() {
        let letters = [
            letter("a", 0, 0, 10, 0),
            letter("b", 0, 1, 30, 0),
            letter("a", 0, 2, 11, 0),
            letter("b", 0, 3, 20, 0),
            letter("c", 1, 0, 5, 0),
        ];
        let plan = plan(&letters, Some(3), None);
        assert_eq!(places(&plan.streamed), [(0, 0), (0, 2), (1, 0)]);
        assert_eq!(places(&plan.picked), [(0, 3), (0, 1)]);
    }

    #[test]
    fn of_an_event_that_died_again_the_last_letter_counts() {
        let letters = [
            letter("a", 0, 0, 10, 0),
            letter("a", 0, 1, 10, 0),
            letter("a", 0, 2, 10, 1),
            letter("b", 0, 3, 7, 0),
            letter("b", 0, 4, 7, 3),
        ];
        let found = plan(&letters, Some(3), None);
        assert_eq!(places(&found.streamed), [(0, 2)]);
        assert_eq!(places(&found.refused), [(0, 4)], "not sent by its first letter either");
        assert_eq!(found.repeated, 3);
        assert_eq!(plan(&letters, None, None).streamed.len(), 2, "unless forced");
    }

    #[test]
    fn keys_may_be_no_text_and_each_record_without_one_counts_as_a_key_of_its_own() {
        let letter = |key: Option<&[u8]>, offset, origin| keyed(key, 0, offset, origin, 0);
        let letters = [
            letter(Some(b"\xff"), 0, 1),
            letter(Some(b"\xfe"), 1, 2),
            letter(Some(b"\xff"), 2, 3),
            letter(None, 3, 4),
            letter(None, 4, 5),
            letter(None, 5, 4),
        ];
        let plan = plan(&letters, None, None);
        let keys: Vec<_> = plan.streamed.iter().map(|entry| entry.key).collect();
        assert_eq!((keys.len(), plan.repeated), (5, 1));
        assert_eq!(keys[0], keys[2]);
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    }

    /// A letter itself names its original topic: each may name another one.
    #[test]
    fn what_is_kept_of_a_letter_is_bounded_whatever_topic_it_names() {
        assert!(size_of::<PlannedRecord>() <= 64, "{}", size_of::<PlannedRecord>());
        let in_topic = |topic: String, offset| {
            let mut letter = letter("a", 0, offset, 7, 0);
            letter.origin = Some(RecordPlace { topic, partition: 0, offset: 7, timestamp: 7 });
            letter
        };
        // A linear search would take minutes here.
        let letters: Vec<_> = (0..50_000).map(|n| in_topic(format!("{n}{}", "t".repeat(50)), n)).collect();
        let found = plan(&letters, None, None);
        assert_eq!((found.streamed.len() + found.picked.len(), found.repeated), (50_000, 0), "each is another event");
        let same: Vec<_> = (0..3).map(|n| in_topic("t".to_owned(), n)).collect();
        assert_eq!(plan(&same, None, None).repeated, 2);
    }

    #[test]
    fn a_limit_keeps_the_earliest() {
        let letters =
            [letter("a", 0, 0, 1, 0), letter("a", 0, 1, 2, 0), letter("b", 0, 3, 1, 0), letter("b", 0, 2, 2, 0)];
        let plan = plan(&letters, None, Some(3));
        assert_eq!(places(&plan.streamed), [(0, 0), (0, 1)]);
        assert_eq!(places(&plan.picked), [(0, 3)]);
    }

    proptest! {
        #[test]
        fn every_event_is_sent_once_and_each_key_in_order(
            log in prop::collection::vec((0..4u8, 0..12i64, 0..3u32), 0..60)
        ) {
            let letters: Vec<_> = (0..).zip(&log).map(|(offset, (key, origin, redrives))| {
                letter(&key.to_string(), i32::from(key % 2), offset, *origin, *redrives)
            }).collect();
            let plan = plan(&letters, None, None);
            let sent: Vec<_> = plan.streamed.iter().chain(&plan.picked).collect();
            let events: std::collections::HashSet<_> = log.iter().map(|(key, origin, _)| (key, origin)).collect();
            prop_assert_eq!(sent.len(), events.len());
            prop_assert_eq!(sent.len() + plan.repeated, letters.len());
            for (n, a) in sent.iter().enumerate() {
                for b in sent.iter().skip(n + 1).filter(|b| b.key == a.key) {
                    prop_assert!(a.origin.offset < b.origin.offset);
                }
            }
        }
    }
}
