//! A place in a history as text that callers hand back and do not look into: base64url of the
//! microseconds since the Unix epoch and the event's id.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::event::EventId;
use shared::store::Cursor;
use time::OffsetDateTime;

/// The text of a place.
pub(super) fn write(cursor: &Cursor) -> String {
    let micros = cursor.accepted_at.unix_timestamp_nanos() / 1_000;
    URL_SAFE_NO_PAD.encode(format!("{micros} {}", cursor.event_id))
}

/// The place of a text, if it is one of ours.
pub(super) fn read(text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (micros, event_id) = text.split_once(' ')?;
    let nanos = i128::from(micros.parse::<i64>().ok()?) * 1_000;
    let accepted_at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    let event_id: EventId = event_id.parse().ok()?;
    Some(Cursor { accepted_at, event_id: event_id.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let accepted_at = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);
        let cursor = Cursor { accepted_at, event_id: "e-1".into() };
        let text = write(&cursor);
        assert_eq!(text, "MTc2NzMyMzA0NTY3ODkwMSBlLTE");
        assert_eq!(read(&text), Some(cursor));
    }

    #[test]
    fn what_is_none_of_ours() {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for text in ["1", "1 ", "x e-1", "1 a b", "9223372036854775807 e", "1\u{0} e", " e", "1.5 e"] {
            assert_eq!(read(&encoded(text)), None, "{text}");
        }
        for text in ["", "MQ==", "!", "\u{e9}", &encoded("1 e")[1..]] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
