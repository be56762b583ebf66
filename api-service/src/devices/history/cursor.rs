//! A position in a history, as text that callers treat as opaque: the microseconds since the Unix epoch, a full stop,
//! and the event's id.

use shared::devices::queries::Cursor;
use shared::kafka::ids::EventId;
use time::OffsetDateTime;

/// The pattern of a cursor; 18 digits suffice until the year 9999, and no event is later.
pub(in crate::devices) const PATTERN: &str = r"^-?[0-9]{1,18}\.[A-Za-z0-9._:-]{1,64}$";
const MAX_DIGITS: usize = 18;
/// The times that both PostgreSQL and this service can represent, from 4714 BC to 9999, in microseconds: a cursor beyond
/// them means the nearest one, because no event is there.
const TIMES: (i64, i64) = (-210_866_803_200_000_000, 253_402_300_799_999_999);

pub(super) fn write(cursor: &Cursor) -> String {
    let micros = cursor.accepted_at.unix_timestamp_nanos() / 1_000;
    format!("{micros}.{}", cursor.event_id)
}

pub(super) fn read(text: &str) -> Option<Cursor> {
    let (micros, event_id) = text.split_once('.')?;
    let digits = micros.strip_prefix('-').unwrap_or(micros);
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros = micros.parse::<i64>().ok()?.clamp(TIMES.0, TIMES.1);
    let accepted_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
    let event_id: EventId = event_id.parse().ok()?;
    Some(Cursor { accepted_at, event_id: event_id.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let accepted_at = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);
        let cursor = Cursor { accepted_at, event_id: "e.1".into() };
        let text = write(&cursor);
        assert_eq!(text, "1767323045678901.e.1");
        assert_eq!(read(&text), Some(cursor));
        for text in ["0.e", "-1.e", "253402300799999999.e", "-210866803200000000.e"] {
            assert_eq!(write(&read(text).unwrap()), text);
        }
        // PostgreSQL refuses what is further away, as if it were away itself.
        for (text, nearest) in [
            ("-210866803200000001.e", "-210866803200000000.e"),
            ("-999999999999999999.e", "-210866803200000000.e"),
            ("999999999999999999.e", "253402300799999999.e"),
        ] {
            assert_eq!(write(&read(text).unwrap()), nearest);
        }
    }

    proptest! {
        /// For every time of acceptance that can be represented.
        #[test]
        fn every_place_that_is_told_is_taken(
            micros in TIMES.0..=TIMES.1, id in "[A-Za-z0-9._:-]{1,64}",
        ) {
            let accepted_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap();
            let cursor = Cursor { accepted_at, event_id: id };
            prop_assert_eq!(read(&write(&cursor)), Some(cursor));
        }
    }

    #[test]
    fn what_is_none_of_ours() {
        for text in
            ["", "1", "1.", ".e", "-.e", "--1.e", "+1.e", "x.e", "1 e", "1.a b", "1.\u{e9}", "1000000000000000000.e"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
