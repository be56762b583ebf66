//! Promise 3: the log has a device's events in the order in which they were accepted, and their effects are
//! in the order of the log.

use std::collections::BTreeMap;

use super::{Device, Found};
use crate::history::{Place, Record, Row};

impl Found {
    pub(super) fn order(&mut self, device: &Device<'_>) {
        self.log(device);
        self.first_copies(device);
        self.effects_in_order(device);
        self.passed_over(device);
        self.state(device);
    }

    /// If an event was acknowledged before another was sent, or precedes it in the same post, it is first in the log.
    fn log(&mut self, device: &Device<'_>) {
        let mut acknowledged: Vec<(Place, &str, &Record)> = Vec::new();
        let mut sent: Vec<(Place, &str, &Record)> = Vec::new();
        for event in device.sent {
            let Some(first) = device.copies.get(event.id.as_str()).and_then(|copies| copies.first()) else { continue };
            sent.push((event.first, &event.id, first));
            acknowledged.extend(event.acknowledged.map(|place| (place, event.id.as_str(), *first)));
        }
        acknowledged.sort_by_key(|(place, ..)| *place);
        sent.sort_by_key(|(place, ..)| *place);
        let mut before = acknowledged.into_iter().peekable();
        // Of the earlier events: the furthest in each partition, and the latest of all.
        let mut furthest: BTreeMap<i32, (&str, &Record)> = BTreeMap::new();
        let mut latest: Option<(&str, &Record)> = None;
        for (place, id, record) in sent {
            while let Some((_, id, record)) = before.next_if(|(acknowledged, ..)| *acknowledged < place) {
                let far = furthest.entry(record.partition).or_insert((id, record));
                if far.1.offset < record.offset {
                    *far = (id, record);
                }
                if latest.is_none_or(|(_, latest)| latest.appended < record.appended) {
                    latest = Some((id, record));
                }
            }
            let overtaken = furthest.get(&record.partition).filter(|(_, earlier)| earlier.offset > record.offset);
            let overtaken = overtaken.or(latest.as_ref().filter(|(_, earlier)| earlier.appended > record.appended));
            if let Some((earlier, _)) = overtaken {
                let what = format!("event {id} stands before event {earlier}, which was accepted before it");
                self.say(3, device.name, what);
            }
        }
    }

    /// Of an event with several copies the first one counts. If partitions were added and the copies are in
    /// several of them, it is the first copy in any one: the order across partitions is undefined.
    fn first_copies(&mut self, device: &Device<'_>) {
        for row in device.rows.iter().filter(|row| !device.letters.contains(row.id.as_str())) {
            let copies = device.copies.get(row.id.as_str()).map(Vec::as_slice).unwrap_or_default();
            let first = copies.iter().filter(|copy| copy.partition == row.partition).map(|copy| copy.offset).min();
            if !copies.is_empty() && first != Some(row.offset) {
                self.say(3, device.name, format!("event {} counts by a copy that is not its first", row.id));
            }
        }
    }

    /// In each partition events have their effects in the order of the log. One exception: an event became a dead
    /// letter and was read again because the worker ended before its commit. It then follows the events
    /// applied in between and changes nothing.
    fn effects_in_order(&mut self, device: &Device<'_>) {
        let mut last: BTreeMap<i32, &Row> = BTreeMap::new();
        for &row in device.rows.iter().filter(|row| row.applied || !device.letters.contains(row.id.as_str())) {
            if let Some(last) = last.insert(row.partition, row)
                && last.offset > row.offset
            {
                let (id, later) = (&row.id, &last.id);
                self.say(3, device.name, format!("event {id} had its effect after event {later}, which is behind it"));
            }
        }
    }

    /// An event may follow a newer state only if the newer event is in another partition, or if it was
    /// itself a dead letter before the newer one was applied.
    fn passed_over(&mut self, device: &Device<'_>) {
        for row in device.rows.iter().filter(|row| !row.applied) {
            let was_letter = device.letters.contains(row.id.as_str());
            let explains = |other: &Row| {
                if other.partition == row.partition {
                    was_letter && other.offset > row.offset && other.transaction <= row.transaction
                } else {
                    other.appended >= row.appended
                }
            };
            if !device.applied().any(explains) {
                self.say(3, device.name, format!("event {} was passed over, and nothing newer was there", row.id));
            }
        }
    }

    /// The state is that of the newest event: by offset within one partition, by the broker's clock across
    /// partitions.
    fn state(&mut self, device: &Device<'_>) {
        let Some(resource) = device.resource else { return };
        let one = device.in_one_partition();
        let place = |row: &Row| if one { row.offset } else { row.appended };
        let newest = device.applied().map(place).max();
        let state = device.applied().find(|row| row.id == resource.event).map(place);
        if state != newest {
            self.say(3, device.name, format!("the state came from event {}, which is not the newest", resource.event));
        }
    }
}
