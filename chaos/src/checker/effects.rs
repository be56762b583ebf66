//! Promises 1, 2 and 4: every accepted event is in the log, and every event there has exactly one effect,
//! which is a dead letter only where that is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use worker_service::scheduler::{RETRIES, Settings, retry_delays};

use super::{Device, Found, is_refusal};
use crate::history::{End, History, Letter};

impl Found {
    pub(super) fn effects(&mut self, device: &Device<'_>) {
        for event in device.sent.iter().filter(|event| event.acknowledged.is_some()) {
            if !device.copies.contains_key(event.id.as_str()) {
                self.say(1, device.name, format!("event {} was answered 202 and is not in the log", event.id));
            }
        }
        let sent: BTreeMap<&str, &Value> =
            device.sent.iter().map(|event| (event.id.as_str(), &event.payload)).collect();
        let rows: BTreeSet<&str> = device.rows.iter().map(|row| row.id.as_str()).collect();
        for id in device.copies.keys() {
            if !sent.contains_key(id) {
                self.say(2, device.name, format!("event {id} is in the log, and nobody sent it"));
            }
            if !rows.contains(id) && !device.letters.contains(id) {
                self.say(2, device.name, format!("event {id} is in the log, and had no effect"));
            }
        }
        let mut seen = BTreeSet::new();
        for row in &device.rows {
            if !device.copies.contains_key(row.id.as_str()) {
                self.say(2, device.name, format!("event {} had an effect, and is not in the log", row.id));
            }
            if sent.get(row.id.as_str()).is_some_and(|payload| **payload != row.payload) {
                self.say(2, device.name, format!("event {} became {}", row.id, row.payload));
            }
            if !seen.insert(&row.id) {
                self.say(2, device.name, format!("event {} is there twice", row.id));
            }
        }
        let applied = i64::try_from(device.applied().count()).unwrap_or(i64::MAX);
        let version = device.resource.map_or(0, |resource| resource.version);
        if version != applied {
            self.say(2, device.name, format!("version {version} of {applied} applied events"));
        }
    }

    /// Events of aborted transactions have no effect.
    pub(super) fn aborted(&mut self, history: &History, end: &End) {
        let is_aborted = |device: &str, id: &str| history.aborted.get(device).is_some_and(|ids| ids.contains(id));
        for row in end.rows.iter().filter(|row| is_aborted(&row.device, &row.id)) {
            self.say(2, &row.device, format!("event {} was aborted, and had an effect", row.id));
        }
        for letter in &end.letters {
            if let Some(id) = letter.id.as_deref().filter(|id| is_aborted(&letter.key, id)) {
                self.say(2, &letter.key, format!("event {id} was aborted, and became a dead letter"));
            }
        }
    }

    /// Once all faults are over, the workers reach the end of the log.
    pub(super) fn left(&mut self, end: &End) {
        for (partition, (committed, end)) in &end.left {
            let what = format!("partition {partition} is committed up to {committed} for good, and ends at {end}");
            self.say(2, "", what);
        }
    }

    /// Every record that is not an event is a dead letter. No other record is, unless PostgreSQL refused the
    /// device's events as data.
    pub(super) fn letters(&mut self, history: &History, end: &End) {
        let is_poison = |letter: &Letter| letter.reason == "undecodable";
        let values: BTreeSet<&str> =
            end.letters.iter().filter(|letter| is_poison(letter)).map(|letter| letter.value.as_str()).collect();
        for poison in history.poison.iter().filter(|poison| !values.contains(poison.as_str())) {
            self.say(2, "", format!("the record {poison:?} is no event, and no dead letter either"));
        }
        let marked = end.log.iter().filter_map(|it| Some(((it.partition, it.offset), it.wire.as_deref()?)));
        let marked: BTreeMap<(i32, i64), &str> = marked.collect();
        // A truncated letter may lack its record's headers and so the mark; the record still has it.
        let mark = |letter: &Letter| -> Option<String> {
            let of_record = || marked.get(&(letter.partition, letter.offset)).map(|&mark| mark.to_owned());
            letter.wire.clone().or_else(|| if letter.cut { of_record() } else { None })
        };
        let marks: BTreeSet<String> = end.letters.iter().filter_map(mark).collect();
        let acknowledged = history.wire.iter().filter(|(_, written)| written.acknowledged);
        for (mark, _) in acknowledged.filter(|(mark, _)| !marks.contains(*mark)) {
            self.say(2, "", format!("the record from the wire {mark} is no dead letter"));
        }
        let is_known = |letter: &Letter| {
            history.poison.contains(&letter.value) || mark(letter).is_some_and(|mark| history.wire.contains_key(&mark))
        };
        for letter in &end.letters {
            self.bytes(history, letter, mark(letter).as_deref());
            let id = letter.id.as_deref().unwrap_or_default();
            let sent = history.sent.get(&letter.key).and_then(|sent| sent.iter().find(|event| event.id == id));
            if sent.is_some_and(|event| serde_json::from_str(&letter.value).ok().as_ref() != Some(&event.payload)) {
                self.say(2, &letter.key, format!("event {id} became the dead letter {:?}", letter.value));
            }
            if is_refusal(history, letter) {
                self.tries(end, letter);
            } else if !(is_poison(letter) && is_known(letter)) {
                let (reason, error) = (&letter.reason, &letter.error);
                self.say(4, &letter.key, format!("event {id:?} became a dead letter ({reason}: {error})"));
            }
        }
    }

    /// A letter holds its record byte for byte, unless it was truncated because it was too large.
    fn bytes(&mut self, history: &History, letter: &Letter, mark: Option<&str>) {
        let Some((mark, written)) = mark.and_then(|mark| history.wire.get_key_value(mark)) else {
            return;
        };
        let may_be_cut = letter.cut && !history.letters_refused.is_empty();
        if letter.print.as_ref() != Some(&written.print) && !may_be_cut {
            let (print, found) = (&written.print, letter.print.as_deref().unwrap_or("nothing"));
            let what = format!("the record from the wire {mark} was ({print}), and its dead letter holds ({found})");
            self.say(2, "", what);
        }
    }

    /// A failed event had all its attempts, over the whole retry time. Fewer are allowed only if many events of its
    /// device waited behind it, if the device had failed for long, or if the event directly before it was such a one.
    fn tries(&mut self, end: &End, letter: &Letter) {
        let Letter { key, partition, offset, attempts, .. } = letter;
        let waited = letter.died - letter.appended;
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let tries = 1 + u32::try_from(retry_delays().count()).unwrap_or(u32::MAX);
        let before = end.log.iter().filter(|record| record.device == *key && record.id.is_some());
        let before = before.filter(|record| record.partition == *partition && record.offset < *offset);
        let before = before.map(|record| record.offset).max();
        let mut failed = end.letters.iter().filter(|other| other.reason == "failed" && other.key == *key);
        let much_waited = |letter: &Letter| {
            let behind = end.log.iter().filter(|record| record.device == *key && record.partition == *partition);
            let waiting = behind.filter(|record| record.offset >= letter.offset && record.appended <= letter.died);
            waiting.count() >= Settings::default().key_records
        };
        let behind_such_a_letter = failed.clone().any(|other| {
            let is_before = other.partition == *partition && Some(other.offset) == before;
            is_before && (other.attempts < tries || much_waited(other))
        });
        let failed_for_long = failed.any(|other| letter.died - other.appended >= milliseconds(RETRIES));
        let enough = if *attempts == tries {
            waited >= milliseconds(retry_delays().sum())
        } else {
            (1..tries).contains(attempts) && (behind_such_a_letter || failed_for_long || much_waited(letter))
        };
        if !enough {
            let id = letter.id.as_deref().unwrap_or_default();
            let what = format!("event {id:?} became a dead letter after {attempts} tries, and {waited} ms in the log");
            self.say(4, key, what);
        }
    }
}
