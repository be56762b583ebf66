//! Money: whole nanos (billionths of the currency's unit) inside, decimal text outside. Never a float, and what is
//! billed is never rounded.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::runtime::json::text;

/// An amount of money, in nanos. Amounts that clients send have at most 6 decimals, so a thousandth of one is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(i64);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits with at most one decimal point between them.
    #[error("must be a decimal number such as 12.5, in digits alone")]
    NotDecimal,
    /// A sign.
    #[error("must be a decimal number without a sign")]
    Sign,
    /// An exponent.
    #[error("must be a decimal number without an exponent")]
    Exponent,
    /// Too many digits before the decimal point.
    #[error("must have at most {WHOLE_DIGITS} digits before the decimal point")]
    TooLong,
    /// More decimals than this limit.
    #[error("must have at most {0} decimals")]
    TooPrecise(usize),
}

/// The most digits before the decimal point.
const WHOLE_DIGITS: usize = 9;
/// The most decimals that a client may send.
const DECIMALS: usize = 6;
/// The decimals of a nano.
const EXACT_DECIMALS: usize = 9;
/// The nanos of the last decimal that a client may send.
const LAST_DECIMAL: i64 = 1_000;
const UNIT: u64 = 1_000_000_000;

impl Nanos {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount in nanos.
    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The nanos.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, unless it is too large.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// What is left, unless it would be less than nothing.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(left) if left >= 0 => Some(Self(left)),
            _ => None,
        }
    }

    /// The price of one, for a price of a thousand. It is whole, because a price has at most 6 decimals.
    pub const fn thousandth(self) -> Self {
        Self(self.0 / 1_000)
    }

    /// The least amount that is not less and that a client can send.
    pub const fn sendable(self) -> Self {
        match self.0.rem_euclid(LAST_DECIMAL) {
            0 => self,
            over => Self(self.0.saturating_add(LAST_DECIMAL - over)),
        }
    }

    /// Parses an amount that a service wrote: like [`str::parse`], but with up to 9 decimals, since a thousandth of a
    /// price has that many.
    pub fn exact(text: &str) -> Result<Self, MoneyError> {
        read(text, EXACT_DECIMALS)
    }

    /// Parses an amount from a JSON string or number. A number is read from its text, not through a double.
    pub fn from_json(raw: &RawValue) -> Result<Self, String> {
        let amount = match raw.get().as_bytes().first() {
            Some(b'"') => text(raw)?.parse(),
            Some(b'-' | b'0'..=b'9') => raw.get().parse(),
            _ => return Err("must be a decimal number, as a JSON string or a JSON number".to_owned()),
        };
        amount.map_err(|error: MoneyError| error.to_string())
    }
}

/// Parses an amount that a client sent.
impl FromStr for Nanos {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        read(text, DECIMALS)
    }
}

fn read(text: &str, decimals: usize) -> Result<Nanos, MoneyError> {
    if text.starts_with(['+', '-']) {
        return Err(MoneyError::Sign);
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    if !are_digits(whole) || !fraction.is_none_or(are_digits) {
        return Err(if has_exponent(text) { MoneyError::Exponent } else { MoneyError::NotDecimal });
    }
    let fraction = fraction.unwrap_or_default();
    if whole.len() > WHOLE_DIGITS {
        return Err(MoneyError::TooLong);
    }
    if fraction.len() > decimals {
        return Err(MoneyError::TooPrecise(decimals));
    }
    // At most 18 digits, which an i64 can hold.
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat(b'0'));
    let digits = digits.take(whole.len() + EXACT_DECIMALS);
    Ok(Nanos(digits.fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0'))))
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_exponent(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    mantissa.split('.').all(are_digits) && are_digits(exponent.trim_start_matches(['+', '-']))
}

/// Without zeros at the end: `0.02`, `5`.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, fraction) = (nanos / UNIT, nanos % UNIT);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

/// As text.
impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Result<Nanos, String> {
        Nanos::from_json(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn amounts_as_people_write_them() {
        for (text, nanos, shown) in [
            ("0", 0, "0"),
            ("5", 5_000_000_000, "5"),
            ("10.50", 10_500_000_000, "10.5"),
            ("12.000001", 12_000_001_000, "12.000001"),
            ("0.02", 20_000_000, "0.02"),
            ("007.0", 7_000_000_000, "7"),
            ("999999999.999999", 999_999_999_999_999_000, "999999999.999999"),
        ] {
            let amount: Nanos = text.parse().unwrap();
            assert_eq!((amount.get(), &*amount.to_string()), (nanos, shown), "{text}");
        }
        assert_eq!(Nanos::new(-20_000_000).to_string(), "-0.02");
        assert_eq!(Nanos::new(i64::MIN).to_string(), "-9223372036.854775808");
        assert_eq!(serde_json::to_string(&Nanos::new(1)).unwrap(), r#""0.000000001""#);
    }

    #[test]
    fn a_text_that_is_refused_says_why() {
        use MoneyError::{Exponent, NotDecimal, Sign, TooLong, TooPrecise};
        for (text, error) in [
            ("", NotDecimal),
            (" ", NotDecimal),
            (" 1", NotDecimal),
            ("1 ", NotDecimal),
            (".", NotDecimal),
            (".5", NotDecimal),
            ("5.", NotDecimal),
            ("1.2.3", NotDecimal),
            ("1,5", NotDecimal),
            ("1_000", NotDecimal),
            ("0x10", NotDecimal),
            ("NaN", NotDecimal),
            ("inf", NotDecimal),
            ("Infinity", NotDecimal),
            ("1e", NotDecimal),
            ("e3", NotDecimal),
            ("\u{ff11}", NotDecimal),
            ("1\0", NotDecimal),
            ("-1", Sign),
            ("-0", Sign),
            ("+1", Sign),
            ("1e3", Exponent),
            ("1.5E-2", Exponent),
            ("1e+0", Exponent),
            ("1000000000", TooLong),
            ("0000000001", TooLong),
            ("0.0000001", TooPrecise(6)),
            ("1.0000000", TooPrecise(6)),
        ] {
            assert_eq!(text.parse::<Nanos>(), Err(error), "{text:?}");
        }
        assert_eq!(Nanos::exact("0.000000001"), Ok(Nanos::new(1)));
        assert_eq!(Nanos::exact("0.0000000001"), Err(TooPrecise(9)));
        assert_eq!(TooLong.to_string(), "must have at most 9 digits before the decimal point");
        assert_eq!(TooPrecise(6).to_string(), "must have at most 6 decimals");
    }

    #[test]
    fn json_strings_and_numbers_are_read_from_their_text() {
        for text in [r#""10""#, "10", "10.0", r#""\u0031\u0030""#] {
            assert_eq!(json(text), Ok(Nanos::new(10_000_000_000)), "{text}");
        }
        // No double is this number.
        assert_eq!(json("999999999.999999").unwrap().to_string(), "999999999.999999");
        let cases = [
            ("1e1", "must be a decimal number without an exponent"),
            ("1E1", "must be a decimal number without an exponent"),
            ("-1", "must be a decimal number without a sign"),
            ("0.1000000", "must have at most 6 decimals"),
            (r#""\ud800""#, "contains a lone surrogate"),
            ("null", "must be a decimal number, as a JSON string or a JSON number"),
            ("true", "must be a decimal number, as a JSON string or a JSON number"),
            (r#"["10"]"#, "must be a decimal number, as a JSON string or a JSON number"),
        ];
        for (text, error) in cases {
            assert_eq!(json(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn arithmetic_is_checked() {
        let (one, two, most) = (Nanos::new(1), Nanos::new(2), Nanos::new(i64::MAX));
        assert_eq!((one.checked_add(one), most.checked_add(one)), (Some(two), None));
        assert_eq!(
            (two.checked_sub(one), one.checked_sub(one), one.checked_sub(two)),
            (Some(one), Some(Nanos::ZERO), None)
        );
    }

    proptest! {
        #[test]
        fn an_amount_comes_back(nanos in 0..1_000_000_000_000_000_000_i64) {
            let shown = Nanos::new(nanos).to_string();
            prop_assert_eq!(Nanos::exact(&shown), Ok(Nanos::new(nanos)));
            prop_assert!(!shown.contains('.') || !shown.ends_with(['0', '.']), "{}", shown);
        }

        #[test]
        fn a_thousandth_of_a_price_is_whole(micros in 0..1_000_000_000_000_000_i64) {
            let price: Nanos = Nanos::new(micros * 1_000).to_string().parse().unwrap();
            prop_assert_eq!(price.thousandth().get() * 1_000, price.get());
        }

        #[test]
        fn a_limit_can_be_sent_back(nanos in 0..=999_999_999_999_999_000_i64) {
            let least = Nanos::new(nanos).sendable();
            prop_assert_eq!(least.to_string().parse(), Ok(least));
            prop_assert!((nanos..nanos + 1_000).contains(&least.get()));
        }

        #[test]
        fn a_text_is_read_digit_by_digit_or_refused(
            text in prop_oneof!["[0-9]{0,11}(\\.[0-9]{0,8})?", "[-+0-9.eE ]{0,8}", ".{0,4}"],
        ) {
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
            let number = |part: &str, most| {
                let good = (1..=most).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
                good.then(|| format!("{part:0<9}").parse::<i64>().unwrap())
            };
            let whole = number(whole, 9).map(|_| whole.parse::<i64>().unwrap());
            let expected = whole.zip(number(fraction, 6)).map(|(whole, nanos)| whole * 1_000_000_000 + nanos);
            prop_assert_eq!(text.parse().ok().map(Nanos::get), expected);
        }
    }
}
