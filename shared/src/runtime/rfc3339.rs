//! Times as text (RFC 3339).

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Parses a date and time of RFC 3339 whose UTC time, which PostgreSQL stores, is in the years 1 to 9999. For
/// `9999-12-31T23:59:59-01:00` it is not, and `time` would panic on the conversion.
///
/// Between date and time RFC 3339 has a T, in any case, or a blank for readability; `time` would take any byte.
pub fn parse(text: &str) -> Option<OffsetDateTime> {
    text.as_bytes().get(10).filter(|byte| matches!(byte, b'T' | b't' | b' '))?;
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
    parse(text).ok_or_else(|| "it is not a time of RFC 3339".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn between_date_and_time_is_a_t_or_a_blank() {
        let at = time::macros::datetime!(2026-01-02 03:04:05 UTC);
        for separator in ['T', 't', ' '] {
            assert_eq!(parse(&format!("2026-01-02{separator}03:04:05Z")), Some(at), "{separator:?}");
            assert_eq!(instant(&format!("2026-01-02{separator}03:04:05z")), Ok(at), "{separator:?}");
        }
        for separator in ["_", "X", "\t", "-", "", "  ", "T ", "\u{a0}", "é"] {
            let text = format!("2026-01-02{separator}03:04:05Z");
            assert_eq!((parse(&text), instant(&text).is_err()), (None, true), "{text:?}");
        }
    }

    /// RFC 3339, section 5.6, without leap seconds.
    fn is_date_time(text: &str) -> bool {
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse::<u32>().ok()
        };
        let at = |place: usize, of: &str| text.get(place..=place).is_some_and(|one| of.contains(one));
        let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return false };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return false,
        };
        let below = |range, end| number(range).is_some_and(|number| number < end);
        let Some(rest) = text.get(19..) else { return false };
        let zone = match rest.strip_prefix('.') {
            Some(fraction) => {
                let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
                if zone.len() == fraction.len() {
                    return false;
                }
                zone
            }
            None => rest,
        };
        let start = text.len() - zone.len();
        let is_zone = matches!(zone, "Z" | "z")
            || zone.len() == 6
                && at(start, "+-")
                && at(start + 3, ":")
                && below(start + 1..start + 3, 24)
                && below(start + 4..start + 6, 60);
        (1..=days).contains(&day)
            && [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")].iter().all(|(place, of)| at(*place, of))
            && below(11..13, 24)
            && below(14..16, 60)
            && below(17..19, 60)
            && is_zone
    }

    proptest! {
        #[test]
        fn a_time_is_taken_if_and_only_if_it_is_one_of_rfc_3339(
            // Not at either end of the years, where the offset counts.
            date in "(01|19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]",
            separator in "[Tt ]|[ -~]{0,2}",
            time in "[0-2][0-9]:[0-6][0-9]:[0-5][0-9]",
            zone in "(\\.[0-9]{0,12})?([Zz]|[+-][0-2][0-9]:[0-6][0-9]|[ -~]{0,7})",
        ) {
            let text = format!("{date}{separator}{time}{zone}");
            prop_assert_eq!(parse(&text).is_some(), is_date_time(&text), "{}", text);
        }
    }
}
