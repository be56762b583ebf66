//! Records and dead letters for the tests.

use std::fmt::Display;

use bytes::Bytes;
use shared::kafka::Envelope;
use shared::kafka::ids::Key;
use shared::kafka::position::Position;
use time::OffsetDateTime;

use super::*;

/// What an event takes whose record has next to nothing.
const EVENT: usize = size_of::<Task>() + size_of::<Record>();

/// The result of sending dead letters: all accepted, or none.
pub(super) fn sent(letters: Vec<DeadLetter>, result: Result<(), &str>) -> Vec<(DeadLetter, Result<(), String>)> {
    letters.into_iter().map(|letter| (letter, result.map_err(str::to_owned))).collect()
}

pub(super) fn error(class: Class) -> Failure {
    Failure { class, reason: format!("{class:?}") }
}

pub(super) fn no_event() -> Refusal {
    Refusal { reason: Reason::Undecodable, error: "no event".into() }
}

pub(super) fn record(offset: i64, key: impl Display, value: &[u8]) -> Record {
    let mut record = Record::new(Some(format!("d{key}").as_bytes()), Some(value), &[]);
    record.offset = offset;
    record
}

pub(super) fn decoded(offset: i64, key: impl Display) -> Delivery<()> {
    let at = OffsetDateTime::UNIX_EPOCH;
    let key = Key::from(format!("d{key}"));
    let (id, data) = (format!("e{offset}").parse().unwrap(), Bytes::from_static(b"{}"));
    let envelope = Envelope::new("t", key, id, at, data);
    let position = Position::new("t", 0, offset, at);
    Delivery { envelope, position, event: () }
}

pub(super) fn small() -> Settings {
    Settings {
        batch_records: 4,
        batch_bytes: 2 * EVENT + 1_800,
        held_records: 6,
        held_bytes: 3 * EVENT + 3_200,
        key_records: 3,
        key_bytes: usize::MAX,
        budget_dead_letters: 3,
        budget_keys: 1,
        budget_window: 8,
    }
}

/// Records of all sizes up to a batch's, and some that were redriven.
pub(super) fn sized(offset: i64, key: u8) -> Record {
    let value = vec![b' '; usize::try_from(offset * 677 % 2_000).unwrap()];
    let place = [("topic", &b"t"[..]), ("partition", b"0"), ("offset", b"1"), ("timestamp", b"1000")];
    let names = place.map(|(name, value)| (format!("origin.{name}"), value));
    let redriven = names.each_ref().map(|(name, value)| (name.as_str(), Some(*value)));
    let headers = if offset % 7 == 3 { &redriven[..] } else { &[] };
    let mut record = Record::new(Some(format!("d{key}").as_bytes()), Some(&value), headers);
    record.offset = offset;
    record
}
