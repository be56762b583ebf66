//! The content of a dead letter, without its value. Pure.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use serde_json::json;
use shared::kafka::{Reason, Record, StreamSpec, as_text, decode, header};
use shared::runtime::rfc3339;
use time::OffsetDateTime;

use crate::observe::panics;
use crate::source::Source;

/// The header that counts how often an event was redriven.
pub const REDRIVES: &str = "redrive.count";
/// The maximum count that is accepted as the worker's own: no event is redriven that often, but another producer may
/// write anything.
pub(super) const MOST_REDRIVES: u32 = 1_000;
/// The maximum bytes that are kept of a text: longer ones are not the worker's own, and there may be many.
const MAX_TEXT: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPlace {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

impl RecordPlace {
    pub(super) fn of(record: &Record, prefix: &str) -> Option<Self> {
        let text = |name: &str| text(record, &format!("{prefix}.{name}"));
        Some(Self {
            topic: text("topic")?,
            partition: text("partition")?.parse().ok()?,
            offset: text("offset")?.parse().ok()?,
            timestamp: text("timestamp")?.parse().ok()?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterSummary {
    pub partition: i32,
    pub offset: i64,
    /// The key, if it is text.
    pub key: Option<String>,
    /// A hash of the key's bytes; `None` without a key.
    pub key_hash: Option<u64>,
    pub event_id: Option<String>,
    /// The consumer group that sent it: `dlq.group`.
    pub group: Option<String>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub attempts: Option<u32>,
    /// `dlq.failed_at`; without it, the time at which the letter was appended.
    pub failed_at: OffsetDateTime,
    /// The original position: `origin.topic` and so on, else where the record failed, `dlq.topic` and so on.
    pub origin: Option<RecordPlace>,
    pub redrives: u32,
    /// Whether it was cut because it was too large.
    pub truncated: bool,
    /// Why its record cannot be written again, if it cannot.
    pub unwritable: Option<&'static str>,
}

impl LetterSummary {
    /// Reads a record of a stream's dead-letter topic. Missing fields stay empty.
    pub fn of(record: &Record, stream: &StreamSpec) -> Self {
        let failed_at = text(record, "dlq.failed_at").and_then(|at| rfc3339::instant(&at).ok());
        let (own, unwritable) = own(record);
        // A structured CloudEvent has its id in the value, so that only decoding finds it.
        let event_id = text(&own, header::ID)
            .or_else(|| Some(panics::caught(|| decode(&own, stream)).ok()?.ok()?.0.id.as_str().to_owned()));
        Self {
            partition: record.partition,
            offset: record.offset,
            key: record.key().and_then(shown_text),
            key_hash: record.key().map(hash),
            event_id,
            group: text(record, "dlq.group"),
            reason: text(record, "dlq.reason"),
            error: text(record, "dlq.error"),
            attempts: text(record, "dlq.attempts").and_then(|count| count.parse().ok()),
            failed_at: failed_at.unwrap_or(record.timestamp),
            // A malformed origin is not replaced: the record goes back as it came.
            origin: match own.header(header::ORIGIN_TOPIC) {
                Some(_) => RecordPlace::of(&own, "origin"),
                None => RecordPlace::of(record, "dlq"),
            },
            redrives: redrives(&own).unwrap_or(0),
            truncated: record.header("dlq.truncated").is_some(),
            unwritable,
        }
    }

    /// Whether it belongs to this source's handler, or to no known group.
    pub fn is_of(&self, source: &Source) -> bool {
        !source.is_of_another(self.group.as_deref().map(str::as_bytes))
    }

    /// Why it can never be sent back, if so.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.reason.as_deref() == Some(Reason::Unreadable.as_str()) {
            Some("its record could not be read: it exists only in the input topic")
        } else if self.truncated {
            Some("it was truncated")
        } else if self.origin.is_none() {
            Some("its origin is missing")
        } else {
            self.unwritable
        }
    }

    /// As one JSON object; `outcome` is that of its event's row, if PostgreSQL was asked.
    pub fn json(&self, outcome: Option<Option<&str>>) -> serde_json::Value {
        json!({
            "partition": self.partition,
            "offset": self.offset,
            "key": self.key,
            "event_id": self.event_id,
            "reason": self.reason,
            "attempts": self.attempts,
            "error": self.error,
            "failed_at": rfc3339::format(self.failed_at),
            "origin": self.origin.as_ref().map(|origin| json!({
                "topic": origin.topic, "partition": origin.partition, "offset": origin.offset,
            })),
            "redrives": self.redrives,
            "truncated": self.truncated,
            "applied": outcome.map(|row| row.is_some()),
            "outcome": outcome.flatten(),
        })
    }

    pub fn line(&self, outcome: Option<Option<&str>>) -> String {
        let applied = match outcome {
            None => "unknown",
            Some(None) => "no",
            Some(Some(outcome)) => outcome,
        };
        let origin = self.origin.as_ref().map(|o| format!("{}/{}/{}", o.topic, o.partition, o.offset));
        format!(
            "{}/{} key={} event={} reason={} attempts={} failed_at={} origin={} redrives={}{} applied={applied} error={:?}",
            self.partition,
            self.offset,
            Shown(&self.key),
            Shown(&self.event_id),
            Shown(&self.reason),
            self.attempts.unwrap_or(0),
            rfc3339::format(self.failed_at),
            Shown(&origin),
            self.redrives,
            if self.truncated { " truncated" } else { "" },
            self.error.as_deref().unwrap_or_default(),
        )
    }
}

/// External text on an operator's terminal: it cannot be taken for a control sequence, or for the end of the field.
pub(super) struct Shown<'a>(pub(super) &'a Option<String>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(text) if !text.is_empty() && text.chars().all(is_shown) => f.write_str(text),
            Some(text) => write!(f, "{text:?}"),
        }
    }
}

/// Whether a character needs no quotes. A quote or a backslash would look like a part of a quoted text.
fn is_shown(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '\\')
}

/// The record with its original headers, and why it cannot be written with them, if so.
fn own(record: &Record) -> (Cow<'_, Record>, Option<&'static str>) {
    if record.headers_are_unread() {
        return (Cow::Borrowed(record), Some("its headers could not be read"));
    }
    let Some(headers) = record.original_headers() else {
        return (Cow::Borrowed(record), Some("its `dlq.headers` are malformed"));
    };
    let unwritable = (!headers.iter().all(|(name, _)| as_text(name).is_some()))
        .then_some("the name of one of its headers is not text, or has a NUL: this client cannot write it");
    let own = if record.header("dlq.headers").is_none() {
        Cow::Borrowed(record)
    } else {
        Cow::Owned(Record::from_bytes(record.key(), record.value().as_deref(), &headers))
    };
    (own, unwritable)
}

/// How often a record was redriven. Redriving writes the count together with the origin: a count without an origin, or
/// in another format, was written by another producer and does not count.
pub(super) fn redrives(own: &Record) -> Option<u32> {
    let said = text(own, REDRIVES)?;
    let count = said.parse().ok().filter(|count| (1..=MOST_REDRIVES).contains(count) && count.to_string() == said)?;
    own.is_redriven().then(|| RecordPlace::of(own, "origin"))?.map(|_| count)
}

/// A collision only means that two keys share one order, which is harmless.
pub(super) fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn text(record: &Record, name: &str) -> Option<String> {
    record.header(name).and_then(shown_text)
}

/// External text, shortened if it is extremely long.
fn shown_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let end = text.floor_char_boundary(MAX_TEXT);
    let rest = if end < text.len() { "…" } else { "" };
    Some(format!("{}{rest}", text.get(..end).unwrap_or_default()))
}

/// A stream without types, for tests.
#[cfg(test)]
pub(super) const STREAM: StreamSpec = {
    let setting = shared::kafka::Setting::new("", "", "", "");
    StreamSpec { name: "", topic: setting, dead_letters: setting, types: &[], extensions: &[], transactional: false }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&str, &str)]) -> Record {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let mut record = Record::new(Some(b"a"), Some(b"{}"), &headers);
        (record.partition, record.offset) = (2, 17);
        record
    }

    const DIED: [(&str, &str); 8] = [
        ("ce_id", "e-1"),
        ("dlq.reason", "failed"),
        ("dlq.attempts", "4"),
        ("dlq.error", "SQLSTATE P0001: no\n"),
        ("dlq.topic", "in"),
        ("dlq.partition", "1"),
        ("dlq.offset", "5"),
        ("dlq.timestamp", "1000"),
    ];
    const FIRST: [(&str, &str); 4] =
        [("origin.topic", "old"), ("origin.partition", "3"), ("origin.offset", "9"), ("origin.timestamp", "500")];

    /// A failed letter with more headers.
    fn letter_with(more: &[(&str, &str)]) -> LetterSummary {
        LetterSummary::of(&record(&[&DIED[..], more].concat()), &STREAM)
    }

    #[test]
    fn a_line_tells_all_of_a_letter_but_its_value() {
        let letter = letter_with(&[("dlq.failed_at", "2026-01-02T03:04:05Z")]);
        assert_eq!(
            letter.line(Some(Some("superseded"))),
            "2/17 key=a event=e-1 reason=failed attempts=4 failed_at=2026-01-02T03:04:05Z origin=in/1/5 redrives=0 \
             applied=superseded error=\"SQLSTATE P0001: no\\n\""
        );
        assert!(letter.line(None).contains("applied=unknown"));
        assert_eq!(letter.json(Some(None))["applied"], false);
        assert_eq!(letter.json(None)["applied"], serde_json::Value::Null);
        assert_eq!(letter.json(Some(Some("applied")))["outcome"], "applied");
    }

    #[test]
    fn the_first_place_is_told_and_not_the_last_one() {
        let letter = letter_with(&[&FIRST[..], &[("redrive.count", "2")]].concat());
        let first = RecordPlace { topic: "old".into(), partition: 3, offset: 9, timestamp: 500 };
        assert_eq!(letter.origin, Some(first));
        let died = RecordPlace { topic: "in".into(), partition: 1, offset: 5, timestamp: 1000 };
        assert_eq!(letter_with(&[]).origin, Some(died), "without one, where it died");
        assert_eq!(letter.redrives, 2);
    }

    #[test]
    fn a_strangers_count_does_not_count() {
        let count = |place: bool, said: &str| {
            let place = if place { &FIRST[..] } else { &[] };
            letter_with(&[place, &[(REDRIVES, said)]].concat()).redrives
        };
        assert_eq!([count(true, "1"), count(true, "1000")], [1, 1_000]);
        for said in ["", "x", "-1", "+1", "01", " 1", "1001", "4294967295", "4294967296", "99999999999999999999"] {
            assert_eq!(count(true, said), 0, "{said}");
        }
        assert_eq!(count(false, "3"), 0, "it was never redriven");
    }

    #[test]
    fn what_is_no_letter_of_ours_is_shown_and_never_sent() {
        let letter = LetterSummary::of(&Record::new(Some(b"\xff"), None, &[]), &STREAM);
        assert!(letter.line(Some(None)).starts_with("0/0 key=- event=- reason=- attempts=0 "));
        assert!(letter.obstacle().is_some());
        assert_eq!(letter_with(&[("dlq.truncated", "2000000")]).obstacle(), Some("it was truncated"));
        assert_eq!(letter_with(&[]).obstacle(), None);
        // The last header of a name counts.
        let unreadable = letter_with(&[("dlq.reason", "unreadable")]);
        assert!(unreadable.obstacle().unwrap().starts_with("its record could not be read"));
        for (text, shown) in [
            ("a\u{1b}[2J b", r#""a\u{1b}[2J b""#),
            ("line 1/sensor@2", r#""line 1/sensor@2""#),
            (r#"a""#, r#""a\"""#),
            ("a/b#{c}", "a/b#{c}"),
        ] {
            assert_eq!(Shown(&Some(text.into())).to_string(), shown);
        }
    }

    #[test]
    fn headers_that_are_encoded_are_told_as_they_were() {
        let with = |encoded: &[u8]| {
            let died = DIED.iter().skip(1).map(|(name, value)| (*name, Some(value.as_bytes())));
            let headers: Vec<_> = died.chain([("dlq.headers", Some(encoded))]).collect();
            LetterSummary::of(&Record::new(Some(b"a"), None, &headers), &STREAM)
        };
        // A header named b"\xff", and the event's id.
        let letter = with(b"\x04\x02\xff\x02x\x0ace_id\x04e2");
        assert_eq!(letter.event_id.as_deref(), Some("e2"));
        assert!(letter.obstacle().unwrap().starts_with("the name of one of its headers is not text"));
        // A header named `dlq.x`, which is text: it was only encoded so that it is not taken for the letter's own.
        assert_eq!(with(b"\x02\x0adlq.x\x01").obstacle(), None);
        assert_eq!(with(b"?").obstacle(), Some("its `dlq.headers` are malformed"));
    }

    #[test]
    fn of_a_text_beyond_all_measure_the_beginning_is_kept() {
        let long = "é".repeat(1_000_000);
        let letter = LetterSummary::of(
            &Record::new(Some(long.as_bytes()), None, &[("dlq.error", Some(long.as_bytes()))]),
            &STREAM,
        );
        let short = format!("{}…", "é".repeat(512));
        assert_eq!((letter.key.as_ref(), letter.error.as_ref()), (Some(&short), Some(&short)));
    }
}
