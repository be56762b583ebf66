//! Parses a submitted CloudEvent 1.0: in the JSON format (structured and batched mode over HTTP), or with its
//! attributes in headers (binary mode).
//!
//! `id` is the event's id, `time` when it occurred, `data` the payload. The domain that accepts the event has a Rust
//! type for its `type` and one for its `subject`. `source` is required but not stored. Extensions are ignored, and
//! their values are not checked.

mod binary;
mod structured;

pub use binary::{binary, header_text};
pub use structured::structured;

use std::fmt::Display;
use std::str::FromStr;

use time::OffsetDateTime;

use crate::kafka::ids::EventId;
use crate::runtime::json::{Fault, Faults, Payload, Pointer};
use crate::runtime::rfc3339;

/// A submitted CloudEvent. `T` and `S` are the domain's types for `type` and `subject`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted<T, S> {
    /// CloudEvents `type`.
    pub event_type: T,
    /// CloudEvents `subject`: what the event is about.
    pub subject: S,
    /// CloudEvents `id`.
    pub id: EventId,
    /// CloudEvents `time`.
    pub time: Option<OffsetDateTime>,
    /// CloudEvents `data`.
    pub data: Payload,
}

const SPEC_VERSION: &str = "1.0";

/// The attributes parsed so far, and their faults.
struct Attributes<T, S> {
    event_type: Option<T>,
    subject: Option<S>,
    id: Option<EventId>,
    time: Option<OffsetDateTime>,
    faults: Faults,
}

impl<T: FromStr<Err: Display>, S: FromStr<Err: Display>> Attributes<T, S> {
    fn new() -> Self {
        Self { event_type: None, subject: None, id: None, time: None, faults: Faults::default() }
    }

    fn take(&mut self, name: &str, at: impl FnOnce() -> Pointer, text: &str) {
        let outcome = match name {
            "specversion" if text != SPEC_VERSION => Err(format!("must be {SPEC_VERSION}")),
            "source" if !is_uri_reference(text) => Err("must be a URI-reference of RFC 3986, and not empty".into()),
            "dataschema" if !is_uri(text) => Err("must be a URI of RFC 3986".into()),
            "datacontenttype" if !is_json(text) => Err("must be a media type of JSON, such as application/json".into()),
            "type" => parse(text, &mut self.event_type),
            "subject" => parse(text, &mut self.subject),
            "id" => parse(text, &mut self.id),
            "time" => match rfc3339::parse(text) {
                Some(time) => {
                    self.time = Some(time);
                    Ok(())
                }
                None => Err("must be a date and time of RFC 3339, in the years 1 to 9999".into()),
            },
            _ => Ok(()),
        };
        if let Err(detail) = outcome {
            self.faults.add(at, detail);
        }
    }

    /// The event, or all faults of the attributes and the payload.
    fn with(self, payload: Option<Result<Payload, Vec<Fault>>>) -> Result<Submitted<T, S>, Vec<Fault>> {
        match (self.event_type, self.subject, self.id, payload) {
            (Some(event_type), Some(subject), Some(id), Some(Ok(data))) if self.faults.is_empty() => {
                Ok(Submitted { event_type, subject, id, time: self.time, data })
            }
            (.., payload) => Err([self.faults.list(""), payload.and_then(Result::err).unwrap_or_default()].concat()),
        }
    }
}

/// The required attributes: those that CloudEvents requires, and `subject`.
const REQUIRED: [&str; 5] = ["specversion", "type", "source", "id", "subject"];

fn parse<T: FromStr<Err: Display>>(text: &str, place: &mut Option<T>) -> Result<(), String> {
    *place = Some(text.parse().map_err(|error: T::Err| error.to_string())?);
    Ok(())
}

/// Attribute names: lower-case letters and digits.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether a media type is JSON: its subtype is `json`, or has the suffix `+json`.
pub fn is_json(media_type: &str) -> bool {
    let subtype = essence(media_type).split_once('/').map(|(_, subtype)| subtype).unwrap_or_default();
    subtype.rsplit('+').next().is_some_and(|last| last.eq_ignore_ascii_case("json"))
}

/// A media type without its parameters.
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// An absolute or relative reference (RFC 3986, section 4.1) that is not empty.
fn is_uri_reference(text: &str) -> bool {
    if text.is_empty() || !has_uri_characters(text) {
        return false;
    }
    // A colon in the first segment ends a scheme.
    let segment = text.split(['/', '?', '#']).next().unwrap_or_default();
    segment.split_once(':').is_none_or(|(scheme, _)| is_scheme(scheme))
}

fn is_uri(text: &str) -> bool {
    is_uri_reference(text) && text.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn has_uri_characters(text: &str) -> bool {
    let mut bytes = text.bytes();
    let mut fragments = 0;
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|next| next.is_some_and(|next| next.is_ascii_hexdigit())),
            b'#' => {
                fragments += 1;
                fragments == 1
            }
            // Brackets enclose an IPv6 address; their content is not checked.
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=".contains(&byte),
        };
        if !good {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn uri_references() {
        for good in ["/devices/1", "a", "urn:x:y", "https://[::1]:80/a?b=c#d", "//h/p", "?q", "#f", "%41", "a/b:c", "."]
        {
            assert!(is_uri_reference(good), "{good}");
        }
        for bad in ["", " ", "a b", "%", "%4", "%4g", "#a#b", "1a:b", ":b", "ü", "a\"b", "<x>", "a\\b", "{x}", "\u{0}"]
        {
            assert!(!is_uri_reference(bad), "{bad}");
        }
        assert!(is_uri("https://example.com/schema"));
        for bad in ["", "/a", "a/b:c", "a?b:c"] {
            assert!(!is_uri(bad), "{bad}");
        }
    }

    #[test]
    fn media_types_of_json() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "text/json", "application/senml+JSON", "a/b+c+json"]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "json", "text/plain", "application/jsonp", "a/json+xml", "application/octet-stream"] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn references_are_made_of_their_characters(text in "\\PC{0,12}") {
            if is_uri_reference(&text) {
                let none = [' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}'];
                prop_assert!(text.is_ascii() && !text.contains(none));
            }
        }
    }
}
