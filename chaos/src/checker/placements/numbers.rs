//! Promise 8: the records of an aggregate are numbered 1, 2, 3 and so on, in the order of the topic.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Found;
use crate::history::placements::{DomainRecord, PlacementsEnd};

impl Found {
    /// The records of each key are in the order of the topic.
    pub(super) fn numbers(&mut self, by_key: &BTreeMap<&str, Vec<&DomainRecord>>, end: &PlacementsEnd) {
        let mut ids = BTreeSet::new();
        for (key, records) in by_key {
            let mut last = 0;
            for record in records {
                let (id, kind) = (&record.id, &record.kind);
                if !ids.insert(id) {
                    self.say(8, key, format!("event {id}, {kind}, is in the topic twice"));
                }
                let Some(number) = record.sequence else {
                    self.say(8, key, format!("event {id}, {kind}, has no number"));
                    continue;
                };
                let what = match number - last {
                    1 => None,
                    2.. => Some(format!("after number {last} comes {number}")),
                    0 => Some(format!("number {number} is there again")),
                    _ => Some(format!("number {number} comes behind {last}")),
                };
                if let Some(what) = what {
                    self.say(8, key, format!("{what}, at {} of partition {}", record.offset, record.partition));
                }
                last = number.max(last);
            }
            if records.windows(2).any(|pair| matches!(pair, [a, b] if a.partition != b.partition)) {
                self.say(8, key, "its records are in several partitions");
            }
            let taken = end.numbers.iter().find(|number| number.aggregate == **key).map(|number| number.last);
            if taken != Some(last) {
                self.say(8, key, format!("the topic ends with number {last}, and {taken:?} is the last one taken"));
            }
        }
        for number in end.numbers.iter().filter(|number| number.last > 0) {
            if !by_key.contains_key(number.aggregate.as_str()) {
                self.say(8, &number.aggregate, format!("number {} is taken, and none is in the topic", number.last));
            }
        }
        for row in &end.outbox {
            let what = format!("event {} with number {} was never published", row.event, row.sequence);
            self.say(8, &row.aggregate, what);
        }
    }
}
