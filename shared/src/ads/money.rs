//! Money: whole nanos (billionths of the currency's unit) inside, decimal text outside. Never a float, never rounded.

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
