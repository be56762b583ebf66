//! Times as text (RFC 3339).

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Parses a date and time of RFC 3339 whose UTC time, which PostgreSQL stores, is in the years 1 to 9999. For
/// `9999-12-31T23:59:59-01:00` it is not, and `time` would panic on the conversion.
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    let given = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let utc = given.checked_to_offset(UtcOffset::UTC)?;
    (1..=9999).contains(&utc.year()).then_some(given)
}

/// A time as text. RFC 3339 cannot write all years, but every time here was parsed from it.
pub fn format(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// Parses a time from a setting; the error is for the operator.
pub fn instant(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "it is not a time of RFC 3339".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_everybody_can_tell() {
        for good in ["2026-01-02T03:04:05.678+01:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in
            ["", "now", "2026-01-02", "0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"]
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
