//! A dead letter: the original record, and why it could not be processed.

use time::OffsetDateTime;

use super::{Header, Record, encoded_headers};
use crate::runtime::named::named;
use crate::runtime::rfc3339;

named!(
    /// Why a record became a dead letter: the header `dlq.reason`, and a metric's label.
    pub Reason {
        /// Not an event: undecodable, or its key is not its subject.
        Undecodable = "undecodable",
        /// This version does not know its type.
        UnknownType = "unknown_type",
        /// PostgreSQL rejected its data (SQLSTATE classes 21, 22, 44, 54).
        Rejected = "rejected",
        /// Processing failed on every attempt (SQLSTATE classes 23, P0).
        Failed = "failed",
        /// Decoding panicked, or applying panicked on every attempt: a bug in this code.
        Panicked = "panicked",
        /// Only this event failed, repeatedly, with an error that otherwise means an outage of PostgreSQL.
        UnknownError = "unknown_error",
        /// The client cannot parse the record. The dead letter has only its position.
        Unreadable = "unreadable",
    }
);

/// Why a record could not be decoded into an event. The text contains no part of the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// The reason's category.
    pub reason: Reason,
    /// The first fault, in words.
    pub error: String,
}

impl Refusal {
    /// The record is not an event.
    pub fn undecodable(error: impl Into<String>) -> Self {
        Self { reason: Reason::Undecodable, error: error.into() }
    }

    /// The event has a type that this version does not know.
    pub fn unknown_type(error: impl Into<String>) -> Self {
        Self { reason: Reason::UnknownType, error: error.into() }
    }
}

/// A record for the dead-letter topic.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The record, as it was read.
    pub record: Record,
    /// Why it failed.
    pub reason: Reason,
    /// Why it failed, in words; contains no part of the payload.
    pub error: String,
    /// The number of attempts.
    pub attempts: u32,
}

/// The longest `dlq.error`, in bytes.
const MAX_ERROR: usize = 1024;
const OURS: &str = "dlq.";
/// The header that holds all of the record's own headers in Kafka's encoding, if they cannot be copied one by one.
const ENCODED: &str = "dlq.headers";
/// The most headers that are copied one by one. Not every client reads a record with too many headers.
const MAX_HEADERS: usize = 1_000;

/// Headers of a dead letter: names and values; `None` is a null value.
pub type LetterHeaders = Vec<(String, Option<Vec<u8>>)>;

impl DeadLetter {
    /// The headers to send: the record's own, unchanged, and the `dlq.` headers. All names are text.
    ///
    /// Not every client can read every name, and some crash on it. If one of the record's own names is not text or
    /// begins with `dlq.`, or if there are more than 1,000 headers, all of them are encoded in the one header
    /// `dlq.headers`.
    pub fn headers(&self, group: &str, failed_at: OffsetDateTime) -> LetterHeaders {
        let mut headers = own_headers(&self.record);
        headers.extend(self.our_headers(group, failed_at));
        headers
    }

    /// Only the `dlq.` headers.
    pub fn our_headers(&self, group: &str, failed_at: OffsetDateTime) -> LetterHeaders {
        let record = &self.record;
        let mut error = self.error.clone();
        error.truncate(error.floor_char_boundary(MAX_ERROR));
        let ours = [
            ("dlq.reason", self.reason.as_str().to_owned()),
            ("dlq.error", error),
            ("dlq.attempts", self.attempts.to_string()),
            ("dlq.topic", record.topic.clone()),
            ("dlq.partition", record.partition.to_string()),
            ("dlq.offset", record.offset.to_string()),
            ("dlq.timestamp", (record.timestamp.unix_timestamp_nanos() / 1_000_000).to_string()),
            ("dlq.failed_at", rfc3339::format(failed_at)),
            ("dlq.group", group.to_owned()),
        ];
        ours.map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))).into()
    }
}

fn own_headers(record: &Record) -> LetterHeaders {
    let all: Vec<_> = record.headers().collect();
    if all.is_empty() {
        return Vec::new();
    }
    let standing = |(name, value): &Header<'_>| {
        let name = as_text(name).filter(|name| !name.starts_with(OURS))?;
        Some((name.to_owned(), value.map(<[u8]>::to_vec)))
    };
    let each: Option<Vec<_>> = all.iter().map(standing).collect();
    each.filter(|_| all.len() <= MAX_HEADERS)
        .unwrap_or_else(|| vec![(ENCODED.to_owned(), Some(encoded_headers::encode(all.into_iter())))])
}

/// A header's name as text that every client can write: UTF-8 without a NUL.
pub fn as_text(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'))
}

impl Record {
    /// The original headers of a dead letter's record. `None` if `dlq.headers` cannot be decoded.
    pub fn original_headers(&self) -> Option<Vec<Header<'_>>> {
        match self.header(ENCODED) {
            Some(encoded) => encoded_headers::decode(encoded),
            None => Some(self.headers().filter(|(name, _)| !name.starts_with(OURS.as_bytes())).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(headers: &[Header<'_>]) -> DeadLetter {
        let record = Record::from_bytes(Some(b"k"), None, headers);
        DeadLetter { record, reason: Reason::Undecodable, error: String::new(), attempts: 1 }
    }

    fn sent(letter: &DeadLetter) -> (LetterHeaders, Record) {
        let headers = letter.headers("g", OffsetDateTime::UNIX_EPOCH);
        let read: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let record = Record::new(None, None, &read);
        (headers, record)
    }

    #[test]
    fn what_not_every_client_can_read_is_encoded() {
        let strange: [Header<'_>; 4] =
            [(b"a\xff", Some(b"1")), (b"a\0b", None), (b"dlq.reason", Some(b"old")), (b"", None)];
        for name in strange {
            let own = [(&b"x"[..], Some(&b"\xff"[..])), name, (b"x", None)];
            let (headers, read) = sent(&letter(&own));
            let is_text = name.0.is_empty();
            assert_eq!(headers.len(), if is_text { 3 } else { 1 } + 9, "{name:?}");
            assert_eq!(read.header("dlq.reason"), Some(&b"undecodable"[..]), "ours counts");
            assert_eq!(read.original_headers(), Some(own.to_vec()));
        }
        let many = vec![(&b"n"[..], None); 1_001];
        let (headers, read) = sent(&letter(&many));
        assert_eq!((headers.len(), read.original_headers()), (1 + 9, Some(many)));
        let (headers, _) = sent(&letter(&[]));
        assert_eq!(headers.len(), 9);
        assert_eq!(Record::new(None, None, &[("dlq.headers", Some(b"\x02"))]).original_headers(), None);
    }

    #[test]
    fn headers_are_kept_and_ours_are_right() {
        let headers = [("x", Some(&b"\xff"[..])), ("x", None)];
        let mut record = Record::new(Some(b"k"), None, &headers);
        record.topic = "events-input".into();
        (record.partition, record.offset) = (2, 17);
        record.timestamp = time::macros::datetime!(2026-01-02 03:04:05.006 UTC);
        let letter = DeadLetter { record, reason: Reason::Failed, error: "é".repeat(600), attempts: 4 };
        let found = letter.headers("events-processor", time::macros::datetime!(2026-01-02 03:05 UTC));
        assert_eq!(found[0], ("x".to_owned(), Some(b"\xff".to_vec())));
        assert_eq!(found[1], ("x".to_owned(), None));
        let ours: Vec<_> = found[2..]
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_deref().unwrap()).unwrap()))
            .collect();
        let error = "é".repeat(512);
        assert_eq!(
            ours,
            [
                ("dlq.reason", "failed"),
                ("dlq.error", error.as_str()),
                ("dlq.attempts", "4"),
                ("dlq.topic", "events-input"),
                ("dlq.partition", "2"),
                ("dlq.offset", "17"),
                ("dlq.timestamp", "1767323045006"),
                ("dlq.failed_at", "2026-01-02T03:05:00Z"),
                ("dlq.group", "events-processor"),
            ]
        );
    }
}
