//! A dead letter: the record as it was, and why it could not be processed.

use time::OffsetDateTime;

use super::{Record, rfc3339};

/// Why a record became a dead letter: the header `dlq.reason`, and a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is no event: undecodable, of unknown type, its key not its subject.
    Undecodable,
    /// PostgreSQL refused its data as such (SQLSTATE classes 21, 22, 44, 54).
    Rejected,
    /// Its processing failed on every try (SQLSTATE classes 23, P0).
    Failed,
}

impl Reason {
    /// As in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// What goes to the dead-letter topic.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The record, as it was read.
    pub record: Record,
    /// Why.
    pub reason: Reason,
    /// Why, in words; never a part of the payload.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// The longest `dlq.error`, in bytes.
const MAX_ERROR: usize = 1024;

impl DeadLetter {
    /// The headers to send: the record's own as they were, without those of an earlier death, and
    /// the `dlq.` ones, all as text.
    pub fn headers(&self, group: &str, failed_at: OffsetDateTime) -> Vec<(String, Option<Vec<u8>>)> {
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
            ("dlq.failed_at", rfc3339(failed_at)),
            ("dlq.group", group.to_owned()),
        ];
        record
            .headers()
            .filter(|(name, _)| !name.starts_with("dlq."))
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .chain(ours.map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_kept_and_ours_are_right() {
        let headers = [("x", Some(&b"\xff"[..])), ("dlq.reason", Some(&b"old"[..])), ("x", None)];
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
