//! Checks the ten promises against the clients' observations and the final state. Pure.
//!
//! The log is the reference. The API's part: it holds all acknowledged events, in the order in which they
//! were sent. The worker's part: the events have their effects in the order of the log.
//!
//! It cannot see:
//! - that an event was tried before an earlier one of its device, if the earlier one became a dead letter;
//! - whether each event that changed nothing was rightly skipped, if a device's events came from two
//!   partitions at once;
//! - how stale a read from Redis was while fences were deferred, beyond that it was not older than the
//!   last state fenced before.

mod budgets;
mod effects;
mod order;
mod placements;
mod reads;
mod staleness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use self::staleness::StalenessAllowance;
use crate::history::{End, History, Letter, Record, Resource, Row, Sent};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The number of the promise, 1 to 10.
    pub promise: u8,
    /// The part of promise 6: a to h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<char>,
    /// The device, the campaign, or what else it is about.
    pub device: String,
    pub what: String,
}

impl Broken {
    /// The promise with its part, such as `6b`.
    pub fn of(&self) -> String {
        self.part.map_or_else(|| self.promise.to_string(), |part| format!("{}{part}", self.promise))
    }
}

#[derive(Debug)]
pub struct Verdict {
    pub broken: Vec<Broken>,
    /// Reads of resources.
    pub reads: Judged,
    /// Reads of reports.
    pub reports: Judged,
}

/// How reads were judged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Reads that began when something was fenced, and had to show all of it.
    pub strict: usize,
    /// Reads that could be older, because fences were deferred then.
    pub excused: usize,
}

/// The time after which nothing that has happened so far excuses a stale read.
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
    let reports = found.budgets(history, end);
    found.placements(history, end);
    Verdict { broken: found.broken, reads: found.judged, reports }
}

#[derive(Default)]
struct Found {
    broken: Vec<Broken>,
    judged: Judged,
}

impl Found {
    fn say(&mut self, promise: u8, device: &str, what: impl Into<String>) {
        self.broken.push(Broken { promise, part: None, device: device.to_owned(), what: what.into() });
    }
}

#[derive(Default)]
struct Device<'a> {
    name: &'a str,
    sent: &'a [Sent],
    /// The copies of each event in the log, as the broker appended them.
    copies: BTreeMap<&'a str, Vec<&'a Record>>,
    /// In the order of their effects within each partition.
    rows: Vec<&'a Row>,
    resource: Option<&'a Resource>,
    /// Events that are dead letters, rightly or not.
    letters: BTreeSet<&'a str>,
}

impl<'a> Device<'a> {
    /// The events that changed its resource.
    fn applied(&self) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().copied().filter(|row| row.applied)
    }

    /// Whether its events are all in one partition. They are in several after partitions were added, and then
    /// have their effects concurrently.
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
        // A transaction has events of one partition only, in the partition's order.
        device.rows.sort_by_key(|row| (row.transaction, row.offset));
        for copies in device.copies.values_mut() {
            copies.sort_by_key(|copy| (copy.appended, copy.offset));
        }
    }
    devices
}

/// Whether this letter exists because PostgreSQL refused the event as data, not because of another fault.
fn is_refusal(history: &History, letter: &Letter) -> bool {
    history.refused.contains(&letter.key) && letter.reason == "failed" && letter.error.contains("SQLSTATE P0001")
}

#[cfg(test)]
pub(crate) mod tests;
