//! How the values of members are read from JSON. Numbers that have decimals are rounded to the digits that are kept.

use serde_json::value::RawValue;

use crate::runtime::json::text;

/// The longest video: 24 hours, in milliseconds.
pub const MAX_MS: u32 = 86_400_000;
/// The greatest frame rate, in thousandths of a frame a second.
pub const MAX_FRAME_RATE: u32 = 1_000_000;
/// The topmost layer.
pub const MAX_LAYER: u16 = 1_000;
/// The most characters of a video's title.
pub const MAX_TITLE: usize = 500;
/// The most characters of a product's name, and of a placement's label.
pub const MAX_NAME: usize = 200;

/// A text for people.
pub(super) fn words(raw: &RawValue, most: usize) -> Result<String, String> {
    let text = text(raw)?;
    if !(1..=most).contains(&text.chars().count()) {
        return Err(format!("must be 1 to {most} characters long"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(text.into_owned())
}

/// A whole number from `least` to `most`. It is read from its digits: `2.0` and `2e0` are refused.
pub(super) fn number<T>(raw: &RawValue, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = raw.get().parse().ok().filter(|number| (&least..=&most).contains(&number));
    number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// The greatest id of a campaign: files have the number as it is, and readers of JSON have doubles (RFC 8785, RFC 8259).
pub const MAX_CAMPAIGN: i64 = (1 << 53) - 1;

/// The id of a campaign, which belongs to another domain: a whole number, at least 1.
pub(super) fn campaign(raw: &RawValue) -> Result<i64, String> {
    number(raw, 1, MAX_CAMPAIGN)
}

/// A frame rate in thousandths of a frame a second, to which it is rounded.
pub(super) fn frame_rate(raw: &RawValue) -> Result<u32, String> {
    let rounded = scaled(raw, 1_000.0, f64::from(MAX_FRAME_RATE));
    let rate = rounded.filter(|rate| *rate >= 1);
    rate.ok_or_else(|| "must be a number from 0.001 to 1000".to_owned())
}

/// A number that is not negative, multiplied by `scale` and rounded, unless it is more than `most` then.
pub(super) fn scaled(raw: &RawValue, scale: f64, most: f64) -> Option<u32> {
    // The first byte of a number: `parse` would take `inf` and `nan`, which JSON does not have.
    raw.get().starts_with(|first: char| first.is_ascii_digit() || first == '-').then_some(())?;
    let number: f64 = raw.get().parse().ok()?;
    let scaled = number * scale;
    // A value that is rounded to the bound is not beyond it only if it was not before.
    (0.0..=most).contains(&scaled).then(|| scaled.round() as u32)
}

/// A number of thousandths, or of another fraction of a power of ten, as JSON has it: without zeros at the end.
pub(super) fn decimal(value: u32, digits: usize) -> String {
    let unit = 10_u32.pow(u32::try_from(digits).unwrap_or(0));
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_frame_rate_is_rounded_to_thousandths() {
        for (json, expected) in [
            ("25", 25_000),
            ("29.97", 29_970),
            ("23.976023976023978", 23_976),
            ("1e3", 1_000_000),
            ("0.001", 1),
            ("0.0005", 1),
            ("59.94", 59_940),
        ] {
            assert_eq!(frame_rate(raw(json)), Ok(expected), "{json}");
        }
        for json in ["0", "-1", "-0", "0.0004", "1000.001", "1e400", "\"25\"", "true", "null", "[25]"] {
            assert_eq!(frame_rate(raw(json)), Err("must be a number from 0.001 to 1000".to_owned()), "{json}");
        }
    }

    #[test]
    fn a_whole_number_is_its_digits() {
        assert_eq!(number(raw("0"), 0, MAX_LAYER), Ok(0));
        assert_eq!(number(raw("1000"), 0, MAX_LAYER), Ok(1_000));
        assert_eq!(campaign(raw("9007199254740991")), Ok(MAX_CAMPAIGN));
        for json in ["1001", "-1", "1.0", "1e0", "\"1\"", "null", "99999999999999999999"] {
            let refused = number(raw(json), 0, MAX_LAYER);
            assert_eq!(refused, Err("must be a whole number from 0 to 1000".to_owned()), "{json}");
        }
    }

    #[test]
    fn a_text_for_people() {
        assert_eq!(words(raw(r#""a b ü""#), 5).unwrap(), "a b ü");
        for json in [r#""""#, r#""abcdef""#, r#""a\nb""#, "7"] {
            assert!(words(raw(json), 5).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_is_read_as_it_was_written(value in 0..=10_000_u32) {
            let text = decimal(value, 4);
            prop_assert_eq!(scaled(raw(&text), 10_000.0, 10_000.0), Some(value), "{}", text);
            prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']), "{}", text);
        }

        #[test]
        fn what_is_computed_in_binary_is_the_decimal_that_was_meant(value in 0..=10_000_u32) {
            let computed = serde_json::to_string(&(f64::from(value) * 0.0001)).unwrap();
            let scaled = scaled(raw(&computed), 10_000.0, 10_000.5);
            prop_assert_eq!(scaled, Some(value), "{}", computed);
        }
    }
}
