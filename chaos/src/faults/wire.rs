//! Raw records: the broker accepts them, but no client library writes them. This file builds the produce request byte
//! by byte. Some of the records are fixed, some are random.

use std::sync::{Arc, Mutex};

use devstack::wire::{WireRecord, produce};
use fastrand::Rng;
use shared::kafka::topics::setup::DEFAULT_PARTITIONS;
use shared::kafka::{Reason, Record};

use super::until_done;
use crate::history::{History, Written, fingerprint};
use crate::load::{DEVICES, lock};
use crate::world::World;

const KNOWN: usize = 9;
const DRAWN: usize = 6;
pub const WIRE_RECORDS: usize = KNOWN + DRAWN;
pub const MARK: &str = "chaos-mark";
/// A large value in bytes, below the limit of a record.
const HUGE: usize = 900_000;

/// Writes one of each kind and some random records to one partition, among its events. None is an event.
pub(super) fn write(world: &World, history: &Arc<Mutex<History>>, choice: usize) -> anyhow::Result<()> {
    let partition = i32::try_from(choice)? % DEFAULT_PARTITIONS;
    let device = format!("device-{}", choice % DEVICES);
    until_done(|| {
        // Each attempt has its own marks, because the records of a failed attempt may exist nevertheless.
        let mut marks = Vec::new();
        let mut records = records(device.as_bytes(), choice);
        for record in &mut records {
            let mut history = lock(history);
            let mark = history.wire.len().to_string();
            record.headers.push((MARK.into(), Some(mark.clone().into_bytes())));
            history.wire.insert(mark.clone(), Written { acknowledged: false, print: print(record) });
            marks.push(mark);
        }
        // One request each: together they exceed the size limit of a request.
        for (record, mark) in records.into_iter().zip(marks) {
            produce(&world.scope.endpoints.kafka_brokers, &world.scope.input_topic, partition, &[record])?;
            if let Some(written) = lock(history).wire.get_mut(&mark) {
                written.acknowledged = true;
            }
        }
        Ok(())
    })
}

fn headers(record: &WireRecord) -> Vec<(&[u8], Option<&[u8]>)> {
    record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect()
}

fn print(record: &WireRecord) -> String {
    fingerprint(record.key.as_deref(), record.value.as_deref(), &headers(record))
}

/// The records of one fault. They depend on `choice` only, and so on the run's seed.
fn records(device: &[u8], choice: usize) -> Vec<WireRecord> {
    let mut rng = Rng::with_seed(choice as u64);
    let drawn = std::iter::repeat_with(|| draw(&mut rng, device)).filter(is_no_event).take(DRAWN);
    known(device).into_iter().chain(drawn).collect()
}

fn known(device: &[u8]) -> [WireRecord; KNOWN] {
    let with = |key: Option<&[u8]>, value: Option<&[u8]>| WireRecord {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    };
    let named = |names: Vec<Vec<u8>>| WireRecord {
        headers: names.into_iter().map(|name| (name, Some(b"1".to_vec()))).collect(),
        ..with(Some(device), Some(b"{}"))
    };
    [
        with(None, None),
        with(Some(b""), Some(b"")),
        with(Some(b"\xff\0\xfe"), Some(b"{}")),
        with(Some(&[b'k'; HUGE]), None),
        with(Some(device), Some(&[b'v'; HUGE])),
        // Not UTF-8; a NUL, where librdkafka ends a name; one of our names; empty; the same twice, once null.
        named(vec![b"\xff".to_vec(), b"a\0b".to_vec(), b"dlq.reason".to_vec(), Vec::new()]),
        WireRecord {
            headers: vec![(b"ce_id".to_vec(), None), (b"ce_id".to_vec(), Some(b"\xff".to_vec()))],
            ..with(Some(device), Some(b"{}"))
        },
        named((0..3_000).map(|n| format!("h{n}").into_bytes()).collect()),
        named(vec![vec![b'n'; 100_000]]),
    ]
}

/// Header names and values that the services interpret.
const WORDS: &str = "ce_specversion~ce_type~ce_id~ce_subject~ce_acceptedat~content-type~traceparent~dlq.reason~dlq.headers~\
    dlq.truncated~origin.topic~origin.offset~redrive.count~1.0~-1~{}~application/json~application/cloudevents+json~\
    a\0b~\u{e9}";

fn word(rng: &mut Rng) -> Vec<u8> {
    rng.choice(WORDS.split('~').collect::<Vec<_>>()).unwrap_or_default().into()
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..8) {
        0 => Vec::new(),
        1 => vec![rng.u8(..); rng.usize(..20_000)],
        2..4 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
        _ => word(rng),
    }
}

fn maybe(rng: &mut Rng) -> Option<Vec<u8>> {
    (rng.u8(..5) > 0).then(|| bytes(rng))
}

/// A record with a random key, value and headers; header names may repeat.
fn draw(rng: &mut Rng, device: &[u8]) -> WireRecord {
    let key = if rng.bool() { Some(device.to_vec()) } else { maybe(rng) };
    let mut record = WireRecord { key, value: maybe(rng), headers: Vec::new() };
    let count = if rng.u8(..8) == 0 { rng.usize(900..2_000) } else { rng.usize(..8) };
    for _ in 0..count {
        let before = if rng.u8(..4) == 0 { rng.choice(&record.headers).map(|(name, _)| name.clone()) } else { None };
        let name = before.unwrap_or_else(|| if count > 8 { word(rng) } else { bytes(rng) });
        let value = if count > 8 { rng.bool().then(Vec::new) } else { maybe(rng) };
        record.headers.push((name, value));
    }
    record
}

/// Whether the record is not an event: a random one could be.
fn is_no_event(record: &WireRecord) -> bool {
    let read = Record::from_bytes(record.key.as_deref(), record.value.as_deref(), &headers(record));
    shared::devices::decode(&read).is_err_and(|refusal| refusal.reason == Reason::Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_them_is_an_event() {
        for choice in 0..300 {
            let records = records(b"device-1", choice);
            assert_eq!(records.len(), WIRE_RECORDS);
            for record in records {
                assert!(is_no_event(&record), "choice {choice}: {:?}", record.headers.first());
                let size: usize =
                    record.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
                let size = size + record.key.map_or(0, |key| key.len()) + record.value.map_or(0, |value| value.len());
                assert!(size < 1_000_000, "the broker takes it: {size}");
            }
        }
    }

    #[test]
    fn what_is_drawn_is_of_every_kind_and_repeats_itself() {
        let drawn: Vec<_> = (0..300).flat_map(|choice| records(b"d", choice).split_off(KNOWN)).collect();
        assert!(drawn == (0..300).flat_map(|choice| records(b"d", choice).split_off(KNOWN)).collect::<Vec<_>>());
        let names = || drawn.iter().flat_map(|record| record.headers.iter().map(|(name, _)| name));
        let repeats = |record: &WireRecord| {
            let mut names: Vec<_> = record.headers.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.windows(2).any(|two| two[0] == two[1])
        };
        for (kind, is_there) in [
            ("a null key", drawn.iter().any(|record| record.key.is_none())),
            ("a null value", drawn.iter().any(|record| record.value.is_none())),
            ("a null header", drawn.iter().any(|record| record.headers.iter().any(|(_, value)| value.is_none()))),
            ("an empty name", names().any(Vec::is_empty)),
            ("a name that is no text", names().any(|name| std::str::from_utf8(name).is_err())),
            ("a name with a NUL", names().any(|name| name.contains(&0))),
            ("a name of ours", names().any(|name| name.starts_with(b"dlq."))),
            ("a name twice", drawn.iter().any(repeats)),
            ("more than a thousand headers", drawn.iter().any(|record| record.headers.len() > 1_000)),
            (
                "a long value",
                drawn.iter().any(|record| record.value.as_ref().is_some_and(|value| value.len() > 10_000)),
            ),
        ] {
            assert!(is_there, "{kind}");
        }
    }
}
