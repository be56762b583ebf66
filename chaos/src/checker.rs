//! Decides the five promises from what clients saw and what is there at the end. Pure.
//!
//! The log is what all is measured by: that it holds what was acknowledged, in the order in which it
//! was sent, is the API's part, and that its events had their effect in its order the worker's.
//!
//! What it cannot see: that an event was tried before an earlier one of its device, where that one
//! became a dead letter in the end; whether a state was passed over rightly at each moment, where a
//! device's events came from two partitions at once; and, of what was read from Redis while fences were
//! put off, more than that it was not older than what had been fenced before.

mod effects;
mod order;
mod reads;
mod staleness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use self::staleness::StalenessAllowance;
use crate::history::{End, History, Letter, Record, Resource, Row, Sent};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which of the five.
    pub promise: u8,
    pub device: String,
    pub what: String,
}

#[derive(Debug)]
pub struct Verdict {
    pub broken: Vec<Broken>,
    /// Reads that had to show everything that was fenced when they began, where something was.
    pub strict: usize,
    /// Reads of which less was asked, because fences were put off then.
    pub excused: usize,
}

/// When no read is excused any more by what has happened so far.
pub fn excused_until(history: &History) -> Duration {
    StalenessAllowance::all(history).iter().map(StalenessAllowance::end).max().unwrap_or_default()
}

pub fn check(history: &History, end: &End) -> Verdict {
    let devices = devices(history, end);
    let mut found = Found::default();
    for device in devices.values() {
        found.effects(device);
        found.order(device);
    }
    found.letters(history, end);
    found.aborted(history, end);
    found.left(end);
    found.reads(history, &devices);
    found.cache(end);
    let Found { broken, strict, excused } = found;
    Verdict { broken, strict, excused }
}

#[derive(Default)]
struct Found {
    broken: Vec<Broken>,
    strict: usize,
    excused: usize,
}

impl Found {
    fn say(&mut self, promise: u8, device: &str, what: impl Into<String>) {
        self.broken.push(Broken { promise, device: device.to_owned(), what: what.into() });
    }
}

#[derive(Default)]
struct Device<'a> {
    name: &'a str,
    sent: &'a [Sent],
    /// The copies of each event in the log, as the broker appended them.
    copies: BTreeMap<&'a str, Vec<&'a Record>>,
    /// Within each partition, in the order in which they had their effect.
    rows: Vec<&'a Row>,
    resource: Option<&'a Resource>,
    /// Events that are dead letters, whether they may be or not.
    letters: BTreeSet<&'a str>,
}

impl<'a> Device<'a> {
    /// Its events that changed it.
    fn applied(&self) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().copied().filter(|row| row.applied)
    }

    /// Whether its events lie in one partition alone. In several, because partitions were added, they
    /// have their effects side by side.
    fn in_one_partition(&self) -> bool {
        self.rows.windows(2).all(|pair| matches!(pair, [a, b] if a.partition == b.partition))
    }
}

fn devices<'a>(history: &'a History, end: &'a End) -> BTreeMap<&'a str, Device<'a>> {
    let mut devices: BTreeMap<&str, Device<'_>> = BTreeMap::new();
    for (name, sent) in &history.sent {
        devices.entry(name).or_default().sent = sent;
    }
    for record in &end.log {
        if let Some(id) = &record.id {
            devices.entry(&record.device).or_default().copies.entry(id).or_default().push(record);
        }
    }
    for row in &end.rows {
        devices.entry(&row.device).or_default().rows.push(row);
    }
    for (name, resource) in &end.resources {
        devices.entry(name).or_default().resource = Some(resource);
    }
    for letter in &end.letters {
        devices.entry(&letter.key).or_default().letters.extend(letter.id.as_deref());
    }
    for (name, device) in &mut devices {
        device.name = name;
        // A transaction's events are of one partition, and in its order.
        device.rows.sort_by_key(|row| (row.transaction, row.offset));
        for copies in device.copies.values_mut() {
            copies.sort_by_key(|copy| (copy.appended, copy.offset));
        }
    }
    devices
}

/// Whether this letter is there because PostgreSQL refused the event as data, and not for anything
/// else that went wrong meanwhile.
fn is_refusal(history: &History, letter: &Letter) -> bool {
    history.refused.contains(&letter.key) && letter.reason == "failed" && letter.error.contains("SQLSTATE P0001")
}

#[cfg(test)]
pub(crate) mod tests;
