//! JSON from outside: the checks that PostgreSQL can store it, and the faults, each with its JSON pointer.

mod faults;
pub mod items;
pub mod members;
pub mod payload;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

pub use self::faults::{Fault, Faults, Pointer, at};
pub use self::payload::{MAX_BYTES as MAX_PAYLOAD_BYTES, Payload};

/// Why a body is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not JSON (RFC 8259).
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not an event; with every fault.
    #[error("not an event")]
    NotAnEvent(Vec<Fault>),
}

/// Parses a text as one JSON value; a byte order mark before it is ignored (RFC 8259, section 8.1).
pub fn json(text: &Bytes) -> Result<&RawValue, BodyError> {
    let text = std::str::from_utf8(without_bom(text)).map_err(|_| BodyError::NotJson("not UTF-8".into()))?;
    serde_json::from_str(text).map_err(|error| BodyError::NotJson(error.to_string()))
}

/// A text without the byte order mark of UTF-8 that some editors and libraries put before it.
pub(crate) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Calls `take` for each member of a JSON object, in order, with its unparsed value. For a name with a lone surrogate,
/// which is well-formed JSON, it passes the fault instead. Another kind of JSON is [`BodyError::NotAnEvent`].
pub fn each_member<'a>(
    object: &'a RawValue,
    take: impl FnMut(Result<Cow<'a, str>, &'static str>, &'a RawValue),
) -> Result<(), BodyError> {
    struct Members<F>(F);

    impl<'de, F: FnMut(Result<Cow<'de, str>, &'static str>, &'de RawValue)> Visitor<'de> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                self.0(text(name), value);
            }
            Ok(())
        }
    }

    if !object.get().starts_with('{') {
        let fault = Fault { pointer: String::new(), detail: "must be a JSON object".into() };
        return Err(BodyError::NotAnEvent(vec![fault]));
    }
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    deserializer.deserialize_map(Members(take)).map_err(|error| BodyError::NotJson(error.to_string()))
}

/// The text of a JSON string, or its fault. A well-formed string that cannot be decoded has a lone surrogate.
pub fn text(raw: &RawValue) -> Result<Cow<'_, str>, &'static str> {
    serde_json::from_str(raw.get())
        .map_err(|_| if raw.get().starts_with('"') { "contains a lone surrogate" } else { "must be a string" })
}

/// The start of a text from outside, short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    let as_written = |written: &mut usize, c: char| {
        *written += c.escape_debug().count();
        (*written <= 64).then_some(c)
    };
    text.chars().scan(0, as_written).collect()
}
