//! Records that no client library writes, and that the broker takes: the produce request itself, byte by byte.

use std::sync::{Arc, Mutex};

use devstack::wire::{WireRecord, produce};

use super::until_done;
use crate::history::History;
use crate::load::{DEVICES, lock};
use crate::world::World;

/// Records, each time.
pub const WIRE_RECORDS: usize = 9;
/// The name of the header by which each is known.
pub const MARK: &str = "chaos-mark";
/// Partitions that there are from the beginning.
const PARTITIONS: usize = 6;
/// Much, and less than a record may have.
const HUGE: usize = 900_000;

/// Writes one of each kind among the events of one partition. None is an event.
pub(super) fn write(world: &World, history: &Arc<Mutex<History>>, choice: usize) -> anyhow::Result<()> {
    let partition = i32::try_from(choice % PARTITIONS)?;
    let device = format!("device-{}", choice % DEVICES);
    until_done(|| {
        // Those of a try that failed may be there nevertheless: each try has marks of its own.
        let mut marks = Vec::new();
        let mut records = records(device.as_bytes());
        for record in &mut records {
            let mut history = lock(history);
            let mark = history.wire.len().to_string();
            record.headers.push((MARK.into(), Some(mark.clone().into_bytes())));
            history.wire.insert(mark.clone(), false);
            marks.push(mark);
        }
        // Each alone: together they are larger than a request may be.
        for (record, mark) in records.into_iter().zip(marks) {
            produce(&world.scope.endpoints.kafka_brokers, &world.scope.input_topic, partition, &[record])?;
            lock(history).wire.insert(mark, true);
        }
        Ok(())
    })
}

fn records(device: &[u8]) -> [WireRecord; WIRE_RECORDS] {
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
        // No text; cut where librdkafka ends a name; of ours; none; the same twice, once null.
        named(vec![b"\xff".to_vec(), b"a\0b".to_vec(), b"dlq.reason".to_vec(), Vec::new()]),
        WireRecord {
            headers: vec![(b"ce_id".to_vec(), None), (b"ce_id".to_vec(), Some(b"\xff".to_vec()))],
            ..with(Some(device), Some(b"{}"))
        },
        named((0..3_000).map(|n| format!("h{n}").into_bytes()).collect()),
        named(vec![vec![b'n'; 100_000]]),
    ]
}

#[cfg(test)]
mod tests {
    use shared::topic::{Record, Refusal, decode};

    use super::*;

    #[test]
    fn none_of_them_is_an_event() {
        for record in records(b"device-1") {
            let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            let read = Record::from_bytes(record.key.as_deref(), record.value.as_deref(), &headers);
            let Err(Refusal { reason, .. }) = decode(&read) else { panic!("{:?}", record.headers) };
            assert_eq!(reason.as_str(), "undecodable", "{:?}", record.headers.first());
        }
    }
}
