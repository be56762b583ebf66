//! Decides the five promises from what clients saw and what is there at the end. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::history::{End, History, Row};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which of the five.
    pub promise: u8,
    /// The device concerned.
    pub device: String,
    /// How.
    pub what: String,
}

/// Everything that is wrong.
pub fn check(history: &History, end: &End) -> Vec<Broken> {
    let mut found = Found { broken: Vec::new() };
    let rows = by_device(&end.rows);
    for (device, sent) in &history.sent {
        let rows = rows.get(device.as_str()).map(Vec::as_slice).unwrap_or_default();
        found.accepted_events(history, end, device, sent);
        found.state(history, end, device, rows);
        found.order(history, device, sent, rows);
    }
    found.nothing_else(history, end);
    found.letters(history, end);
    found.reads(history, &rows);
    found.cache(end);
    found.broken
}

struct Found {
    broken: Vec<Broken>,
}

fn by_device(rows: &[Row]) -> BTreeMap<&str, Vec<&Row>> {
    let mut by: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by.entry(&row.device).or_default().push(row);
    }
    for rows in by.values_mut() {
        // The order of the log; across partitions, the broker's clock.
        rows.sort_by_key(|row| (row.appended, row.offset));
    }
    by
}

impl Found {
    fn say(&mut self, promise: u8, device: &str, what: impl Into<String>) {
        self.broken.push(Broken { promise, device: device.to_owned(), what: what.into() });
    }

    /// 1 and 2: every 202 is a row, or a dead letter where one may be.
    fn accepted_events(&mut self, history: &History, end: &End, device: &str, sent: &[crate::history::Sent]) {
        let rows: BTreeSet<&str> =
            end.rows.iter().filter(|row| row.device == device).map(|row| row.id.as_str()).collect();
        let letters: BTreeSet<&str> = end
            .letters
            .iter()
            .filter(|letter| letter.key == device)
            .filter_map(|letter| letter.id.as_deref())
            .collect();
        for event in sent.iter().filter(|event| event.acknowledged.is_some()) {
            let letter = history.refused.contains(device) && letters.contains(event.id.as_str());
            if !rows.contains(event.id.as_str()) && !letter {
                self.say(2, device, format!("the event {} was answered 202 and is nowhere", event.id));
            }
        }
    }

    /// 2 and 3: the version counts the events applied, and the state is the last of them.
    fn state(&mut self, history: &History, end: &End, device: &str, rows: &[&Row]) {
        let applied: Vec<_> = rows.iter().filter(|row| row.applied).collect();
        let Some(resource) = end.resources.get(device) else {
            if !applied.is_empty() {
                self.say(2, device, "events were applied, and there is no resource");
            }
            return;
        };
        if resource.version != i64::try_from(applied.len()).unwrap_or(i64::MAX) {
            self.say(2, device, format!("version {} of {} applied events", resource.version, applied.len()));
        }
        let last = if history.partitions_added {
            applied.iter().max_by_key(|row| row.appended).map(|row| row.appended)
        } else {
            applied.iter().max_by_key(|row| row.offset).map(|row| row.offset)
        };
        let state = applied.iter().find(|row| row.id == resource.event);
        let state = state.map(|row| if history.partitions_added { row.appended } else { row.offset });
        if state != last {
            self.say(3, device, format!("the state came from event {}, which is not the last", resource.event));
        }
    }

    /// 3: what was acknowledged before the next was sent stands before it, and nothing was passed over.
    fn order(&mut self, history: &History, device: &str, sent: &[crate::history::Sent], rows: &[&Row]) {
        let place: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), *row)).collect();
        let mut before: Option<&Row> = None;
        for event in sent {
            let Some(row) = place.get(event.id.as_str()) else { continue };
            // Sent twice while partitions are added, it may lie in two of them, and whichever is read
            // first counts: it has no one place to be compared with others.
            if history.partitions_added && event.times > 1 {
                continue;
            }
            if let Some(before) = before
                && before.partition == row.partition
                && before.offset > row.offset
            {
                self.say(
                    3,
                    device,
                    format!("event {} stands before event {}, which was sent earlier", row.id, before.id),
                );
            }
            before = Some(row);
            if !row.applied && !history.partitions_added {
                self.say(3, device, format!("event {} came behind a newer state", row.id));
            }
        }
    }

    /// 2: no row that nobody sent, and none twice.
    fn nothing_else(&mut self, history: &History, end: &End) {
        let mut seen = BTreeSet::new();
        for row in &end.rows {
            let known = history.sent.get(&row.device).is_some_and(|sent| sent.iter().any(|event| event.id == row.id));
            if !known {
                self.say(2, &row.device, format!("event {} is there, and nobody sent it", row.id));
            }
            if !seen.insert((&row.device, &row.id)) {
                self.say(2, &row.device, format!("event {} is there twice", row.id));
            }
        }
    }

    /// 2 and 4: every record that is no event is a dead letter, and no other is, but where
    /// PostgreSQL refused the device's events as data.
    fn letters(&mut self, history: &History, end: &End) {
        let values: BTreeSet<&str> = end.letters.iter().map(|letter| letter.value.as_str()).collect();
        for poison in &history.poison {
            if !values.contains(poison.as_str()) {
                self.say(2, "", format!("the record {poison:?} is no event, and no dead letter either"));
            }
        }
        for letter in &end.letters {
            let refused = letter.reason == "failed" && history.refused.contains(&letter.key);
            if !refused && !history.poison.contains(&letter.value) {
                self.say(4, &letter.key, format!("event {:?} became a dead letter ({})", letter.id, letter.reason));
            }
        }
    }

    /// 5: a read that started after a commit was known sees everything before it.
    fn reads(&mut self, history: &History, rows: &BTreeMap<&str, Vec<&Row>>) {
        let mut commits: Vec<_> = history.commits.iter().collect();
        commits.sort_by_key(|commit| commit.at);
        for read in &history.reads {
            let excused =
                history.redis_away.iter().any(|(from, to)| read.to >= *from && read.from <= *to + history.ttl);
            if excused {
                continue;
            }
            let known = commits.partition_point(|commit| commit.at < read.from);
            let Some(commit) = known.checked_sub(1).and_then(|last| commits.get(last)) else { continue };
            let rows = rows.get(read.device.as_str()).map(Vec::as_slice).unwrap_or_default();
            let fenced = rows
                .iter()
                .filter(|row| {
                    row.applied && commit.offsets.get(&row.partition).is_some_and(|offset| row.offset < *offset)
                })
                .count();
            let fenced = i64::try_from(fenced).unwrap_or(i64::MAX);
            if read.version < fenced {
                let (version, from, at) = (read.version, seconds(read.from), seconds(commit.at));
                self.say(
                    5,
                    &read.device,
                    format!("a read at {from} s gave version {version}, and {fenced} was fenced at {at} s"),
                );
            }
        }
    }

    /// 5: every body in the cache is its row.
    fn cache(&mut self, end: &End) {
        for (device, body) in &end.cached {
            match end.resources.get(device) {
                Some(resource) if resource.body == *body => {}
                // It says that there is no such resource.
                None if body == shared::cache::MISSING => {}
                Some(resource) => self.say(5, device, format!("cached is {body}, and the row is {}", resource.body)),
                None => self.say(5, device, format!("cached is {body}, and there is no row")),
            }
        }
    }
}

fn seconds(at: Duration) -> f64 {
    at.as_secs_f64()
}

#[cfg(test)]
mod tests;
