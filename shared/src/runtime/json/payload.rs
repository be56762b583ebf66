//! A payload: a JSON object that PostgreSQL can store and return without changes in its meaning.
//!
//! `jsonb` rejects `\u0000` and lone surrogates, silently keeps only the last of duplicate keys, writes every number
//! out (`1e300` becomes 301 digits), and cannot store some numbers. All that is checked here, so that an accepted
//! payload can be stored, and read again at about the same size.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;

use super::faults::{Fault, Faults, Pointer, at};

/// The greatest size of a payload, in bytes, as it is sent.
pub const MAX_BYTES: usize = 256 * 1024;
/// The greatest size of a payload with its numbers written out as `jsonb` does, in bytes.
pub const MAX_BYTES_WRITTEN_OUT: usize = 512 * 1024;
/// The maximum nesting depth; the payload itself is the first level.
pub const MAX_DEPTH: usize = 64;
/// The most significant digits of a number. Zeros at either end are not significant.
pub const MAX_DIGITS: usize = 64;
/// The greatest absolute value of a number's exponent: enough for the smallest double with 64 digits before the exponent
/// (`4940656…e-387`). A number beyond the doubles (`1e309`) is a fault of its own.
pub const MAX_EXPONENT: i64 = 400;
/// The longest number, in characters as it is sent. Needed because zeros are not significant digits, but `numeric`
/// allows at most 16,383 of them after the decimal point.
pub const MAX_NUMBER: usize = 512;
/// The bytes around the text in a probe's payload.
const AROUND: usize = r#"{"probe":""}"#.len();

/// A JSON object within the limits of this module, byte for byte as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

impl Payload {
    /// Checks a text that is known to be one well-formed JSON value (RFC 8259), such as a
    /// [`serde_json::value::RawValue`]; `at` is its JSON pointer. The error lists every fault with its JSON pointer, up
    /// to a limit.
    pub fn check(json: Bytes, at: &str) -> Result<Self, Vec<Fault>> {
        let mut scan = Scan { text: &json, at, place: 0, levels: Vec::new(), written: 0, faults: Faults::default() };
        scan.run();
        let faults = scan.faults;
        if faults.is_empty() { Ok(Self(json)) } else { Err(faults.list(at)) }
    }

    /// The payload of a probe, of about this size.
    pub(crate) fn of_probe(bytes: usize) -> Self {
        let length = bytes.min(MAX_BYTES).saturating_sub(AROUND);
        // Random text: a compressible one would use fewer resources than a real event.
        let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(length).collect();
        Self(Bytes::from(format!(r#"{{"probe":"{text}"}}"#)))
    }

    /// The JSON text.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        // It is UTF-8, as checked on construction. Avoiding this second check is not worth `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// An object or array that is not closed yet.
enum Level<'a> {
    Object { keys: Vec<Cow<'a, str>> },
    Array { index: usize },
}

/// One pass over well-formed JSON. Because it is well-formed, the scan can look at single bytes and needs no grammar.
struct Scan<'a> {
    text: &'a [u8],
    at: &'a str,
    place: usize,
    levels: Vec<Level<'a>>,
    /// The size with numbers written out, and a space after each colon and comma.
    written: usize,
    faults: Faults,
}

impl<'a> Scan<'a> {
    fn run(&mut self) {
        if self.text.len() > MAX_BYTES {
            return self.fault(format!("is larger than {MAX_BYTES} bytes"));
        }
        if self.text.first() != Some(&b'{') {
            return self.fault("must be a JSON object".into());
        }
        let mut key_next = false;
        while let Some(&byte) = self.text.get(self.place) {
            match byte {
                b'{' | b'[' => {
                    let level =
                        if byte == b'{' { Level::Object { keys: Vec::new() } } else { Level::Array { index: 0 } };
                    if self.levels.len() == MAX_DEPTH {
                        // Deeper faults are not reported, because keeping the path would cost memory.
                        return self.fault(format!("is nested more than {MAX_DEPTH} deep"));
                    }
                    self.levels.push(level);
                    key_next = byte == b'{';
                    self.step(1);
                }
                b'}' | b']' => {
                    self.close();
                    self.step(1);
                }
                b',' => {
                    match self.levels.last_mut() {
                        Some(Level::Array { index }) => *index += 1,
                        Some(Level::Object { .. }) => key_next = true,
                        None => {}
                    }
                    self.step(2);
                }
                b':' => {
                    key_next = false;
                    self.step(2);
                }
                b'"' => {
                    let (string, wrong) = self.string();
                    match self.levels.last_mut() {
                        // No pointer can name such a key, so the fault is reported at its object.
                        Some(Level::Object { keys }) if key_next => {
                            keys.push(string);
                            wrong.into_iter().for_each(|wrong| self.fault_above(format!("has a key that {wrong}")));
                        }
                        _ => wrong.into_iter().for_each(|wrong| self.fault(wrong.into())),
                    }
                }
                b'-' | b'0'..=b'9' => self.number(),
                b' ' | b'\t' | b'\r' | b'\n' => self.place += 1,
                _ => self.step(1), // true, false, null
            }
        }
        if self.written > MAX_BYTES_WRITTEN_OUT {
            self.fault(format!("is larger than {MAX_BYTES_WRITTEN_OUT} bytes with its numbers written out"));
        }
    }

    /// Skips one byte, which takes `written` bytes in PostgreSQL's text.
    fn step(&mut self, written: usize) {
        self.place += 1;
        self.written += written;
    }

    fn close(&mut self) {
        let repeated = match self.levels.pop() {
            Some(Level::Object { keys }) => repeated(&keys),
            _ => None,
        };
        if let Some(key) = repeated {
            // Long keys are cut: the response must not be larger than the request.
            self.fault(format!("has the key {:?} more than once", crate::runtime::json::shown(&key)));
        }
    }

    /// Reads the string at this place, with its fault if it has one, and moves past it.
    fn string(&mut self) -> (Cow<'a, str>, Option<&'static str>) {
        let start = self.place + 1;
        let mut end = start;
        let mut escaped = false;
        while let Some(&byte) = self.text.get(end) {
            match byte {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    end += 2;
                }
                _ => end += 1,
            }
        }
        self.place = end + 1;
        let inner = self.text.get(start..end).unwrap_or_default();
        self.written += inner.len() + 2;
        if !escaped {
            return (String::from_utf8_lossy(inner), None);
        }
        // serde_json decodes surrogate pairs, so it fails only for a lone surrogate.
        let quoted = self.text.get(start - 1..=end).unwrap_or_default();
        match serde_json::from_slice::<String>(quoted) {
            Ok(text) => {
                let wrong = text.contains('\0').then_some("contains \\u0000");
                (Cow::Owned(text), wrong)
            }
            Err(_) => (String::from_utf8_lossy(inner), Some("contains a lone surrogate")),
        }
    }

    /// Reads the number at this place, and moves past it.
    fn number(&mut self) {
        let rest = self.text.get(self.place..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let token = std::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default();
        self.place += length;

        let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
        let digits = significant_digits(mantissa);
        // An exponent that overflows an i64 exceeds the limit.
        let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_abs();
        // A greater exponent is a fault by itself.
        let written = usize::try_from(exponent.min(MAX_EXPONENT)).unwrap_or(0);
        // An upper bound of its written size: `1e-2` is `0.01`.
        self.written += token.len() + written;

        if length > MAX_NUMBER {
            self.fault(format!("has more than {MAX_NUMBER} characters"));
        } else if exponent > MAX_EXPONENT {
            self.fault(format!("has an exponent beyond {MAX_EXPONENT}"));
        } else if digits > MAX_DIGITS {
            self.fault(format!("has more than {MAX_DIGITS} significant digits"));
        } else if !token.parse::<f64>().is_ok_and(f64::is_finite) {
            self.fault("is not finite as an IEEE 754 double".into());
        }
    }

    fn fault(&mut self, detail: String) {
        self.faults.add(|| pointer(self.at, &self.levels), detail);
    }

    /// Adds a fault of the innermost open object or array.
    fn fault_above(&mut self, detail: String) {
        let levels = self.levels.get(..self.levels.len().saturating_sub(1)).unwrap_or_default();
        self.faults.add(|| pointer(self.at, levels), detail);
    }
}

fn pointer(start: &str, levels: &[Level<'_>]) -> Pointer {
    levels.iter().fold(at(start), |place, level| match level {
        Level::Array { index } => place.then(&index.to_string()),
        Level::Object { keys } => match keys.last() {
            Some(key) => place.then(key),
            None => place,
        },
    })
}

/// The number of digits from the first to the last one that is not zero.
fn significant_digits(mantissa: &str) -> usize {
    let digits = mantissa.trim_matches(|c: char| !matches!(c, '1'..='9'));
    digits.bytes().filter(u8::is_ascii_digit).count()
}

/// The first key that occurs twice. Up to 8 keys are compared pairwise without a set, because most objects have few.
fn repeated(keys: &[Cow<'_, str>]) -> Option<String> {
    if keys.len() <= 8 {
        keys.iter().enumerate().find(|(i, key)| keys.iter().take(*i).any(|k| k == *key)).map(|(_, key)| key.to_string())
    } else {
        let mut seen = HashSet::with_capacity(keys.len());
        keys.iter().map(AsRef::as_ref).find(|key: &&str| !seen.insert(*key)).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
