//! Selects the dead letters of a command.

use shared::kafka::Reason;
use shared::runtime::rfc3339;
use time::OffsetDateTime;

use crate::dead_letters::summary::LetterSummary;

/// Which dead letters.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LetterFilter {
    /// Only dead letters with this key.
    // `--device` is its name of when every key was a device.
    #[arg(long, alias = "device")]
    pub key: Option<String>,
    /// Only dead letters with this `dlq.reason`.
    #[arg(long, value_parser = Reason::NAMES)]
    pub reason: Option<String>,
    /// Only dead letters that failed at this time (RFC 3339) or later.
    #[arg(long, value_parser = rfc3339::instant)]
    pub since: Option<OffsetDateTime>,
    /// Only dead letters that failed before this time (RFC 3339).
    #[arg(long, value_parser = rfc3339::instant)]
    pub until: Option<OffsetDateTime>,
    /// The maximum number of dead letters.
    #[arg(long)]
    pub limit: Option<usize>,
}

impl LetterFilter {
    /// Whether the filter matches a letter; ignores the limit.
    pub fn matches(&self, letter: &LetterSummary) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        same(&self.key, &letter.key)
            && same(&self.reason, &letter.reason)
            && self.since.is_none_or(|since| letter.failed_at >= since)
            && self.until.is_none_or(|until| letter.failed_at < until)
    }
}

#[cfg(test)]
mod tests {
    use shared::kafka::Record;
    use time::macros::datetime;

    use super::*;
    use crate::dead_letters::summary::STREAM;

    #[test]
    fn each_part_of_a_filter_counts() {
        let headers = [("dlq.reason", Some(&b"failed"[..])), ("dlq.failed_at", Some(b"2026-01-02T03:04:05Z"))];
        let letter = LetterSummary::of(&Record::new(Some(b"a"), Some(b"{}"), &headers), &STREAM);
        let at = datetime!(2026-01-02 03:04:05 UTC);
        let second = time::Duration::SECOND;
        let all = LetterFilter::default();
        assert!(all.matches(&letter));
        let same = LetterFilter { key: Some("a".into()), reason: Some("failed".into()), ..all.clone() };
        assert!(same.matches(&letter));
        assert!(LetterFilter { since: Some(at), until: Some(at + second), ..all.clone() }.matches(&letter));
        for other in [
            LetterFilter { since: Some(at + second), ..all.clone() },
            LetterFilter { until: Some(at), ..all.clone() },
            LetterFilter { key: Some("b".into()), ..all.clone() },
            LetterFilter { reason: Some("rejected".into()), ..all.clone() },
        ] {
            assert!(!other.matches(&letter), "{other:?}");
        }
    }
}
