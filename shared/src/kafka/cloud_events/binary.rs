//! The binary mode over HTTP: attributes in headers, the body is the data. What is not stored is not checked: a gateway
//! or an SDK may add extension headers of any name and value.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;

use super::{Attributes, REQUIRED, Submitted, essence};
use crate::runtime::json::{BodyError, Payload, Pointer, at, json};

/// The pointer for faults of an attribute. The headers are not a part of the body, so they are under `/headers`.
fn pointer(name: &str) -> Pointer {
    at("/headers").then(&format!("ce-{name}"))
}

/// The attributes that are read, beside `datacontenttype`.
const READ: [&str; 7] = ["specversion", "type", "source", "id", "subject", "time", "dataschema"];

/// Parses one CloudEvent from the content type, the headers whose names begin with `ce-` (here without that prefix, in
/// lower case) and the body, whose memory the payload shares. The error lists every fault: those of an attribute at
/// `/headers/ce-…`, those of the body at `/data…`.
pub fn binary<'a, T, S>(
    content_type: &str,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    body: &Bytes,
) -> Result<Submitted<T, S>, BodyError>
where
    T: FromStr<Err: Display>,
    S: FromStr<Err: Display>,
{
    let data = json(body)?;
    let mut attributes = Attributes::new();
    let mut seen: Vec<&str> = Vec::with_capacity(8);
    for (name, value) in headers {
        let at = || pointer(name);
        match name {
            // Old SDKs for Python repeat the content type here.
            "datacontenttype" if says(value, content_type) => {}
            "datacontenttype" => attributes.faults.add(at, "must be absent, or the same as the content-type"),
            "data" | "data_base64" => attributes.faults.add(at, "must be absent: the data is the body"),
            _ if !READ.contains(&name) => {}
            _ if seen.contains(&name) => attributes.faults.add(at, "occurs more than once"),
            _ => {
                seen.push(name);
                match header_text(value) {
                    Some(text) => attributes.take(name, at, &text),
                    None => attributes.faults.add(at, "must be UTF-8, percent-encoded"),
                }
            }
        }
    }
    for name in REQUIRED.iter().filter(|name| !seen.contains(name)) {
        attributes.faults.add(|| pointer(name), "is required");
    }
    let payload = Payload::check(body.slice_ref(data.get().as_bytes()), "/data");
    attributes.with(Some(payload)).map_err(BodyError::NotAnEvent)
}

/// Whether a header names this media type; parameters such as `charset` change nothing about JSON.
fn says(value: &[u8], content_type: &str) -> bool {
    header_text(value).is_some_and(|text| essence(&text).eq_ignore_ascii_case(essence(content_type)))
}

/// Decodes an attribute's header as in the HTTP binding: unquotes a quoted string (older senders write those), then
/// percent-decodes once. `None` if that gives no text.
pub fn header_text(value: &[u8]) -> Option<String> {
    let unquoted = unquoted(value.trim_ascii())?;
    let mut bytes = unquoted.iter();
    let mut text = Vec::with_capacity(unquoted.len());
    while let Some(&byte) = bytes.next() {
        text.push(if byte == b'%' { digit(bytes.next())? * 16 + digit(bytes.next())? } else { byte });
    }
    String::from_utf8(text).ok()
}

fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(rest) = value.strip_prefix(b"\"") else { return Some(Cow::Borrowed(value)) };
    let mut bytes = rest.iter();
    let mut text = Vec::with_capacity(rest.len());
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => text.push(*bytes.next()?),
            &byte => text.push(byte),
        }
    }
    // Nothing may follow the closing quote.
    bytes.next().is_none().then_some(Cow::Owned(text))
}

fn digit(byte: Option<&u8>) -> Option<u8> {
    Some(char::from(*byte?).to_digit(16)? as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::submission::{self, Submission};
    use proptest::prelude::*;

    const GOOD: [(&str, &str); 5] = [
        ("specversion", "1.0"),
        ("type", "io.edge.device.reported.v1"),
        ("source", "/x"),
        ("id", "e-1"),
        ("subject", "d"),
    ];

    fn read(headers: &[(&str, &str)], body: &str) -> Result<Submission, BodyError> {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        submission::binary("application/json", headers, &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn pointers(headers: &[(&str, &str)], body: &str) -> Vec<String> {
        match read(headers, body) {
            Ok(_) => Vec::new(),
            Err(BodyError::NotAnEvent(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            Err(error) => panic!("{body}: {error}"),
        }
    }

    /// The good headers with one changed or added.
    fn changed<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
        GOOD.into_iter().filter(|(other, _)| *other != name).chain([(name, value)]).collect()
    }

    #[test]
    fn the_whole_event() {
        let headers = changed("time", "2026-01-02T03:04:05%2B00:00");
        let event = read(&headers, " {\"a\" : 1.0}\n").unwrap();
        assert_eq!((event.device_id.as_str(), event.event_id.unwrap().as_str()), ("d", "e-1"));
        assert_eq!(event.occurred_at, Some(time::macros::datetime!(2026-01-02 03:04:05 UTC)));
        assert_eq!(event.payload.as_str(), "{\"a\" : 1.0}", "byte for byte");
    }

    #[test]
    fn every_fault_with_its_pointer() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("specversion", "1.1", &["/headers/ce-specversion"]),
            ("type", "other", &["/headers/ce-type"]),
            ("source", "", &["/headers/ce-source"]),
            ("id", "a%20b", &["/headers/ce-id"]),
            ("subject", "%", &["/headers/ce-subject"]),
            ("subject", "%C0%A0", &["/headers/ce-subject"]),
            ("time", "now", &["/headers/ce-time"]),
            ("dataschema", "x", &["/headers/ce-dataschema"]),
            ("datacontenttype", "application/senml+json", &["/headers/ce-datacontenttype"]),
            ("datacontenttype", "%", &["/headers/ce-datacontenttype"]),
            ("data", "{}", &["/headers/ce-data"]),
            ("data_base64", "e30=", &["/headers/ce-data_base64"]),
        ];
        for (name, value, expected) in cases {
            assert_eq!(pointers(&changed(name, value), "{}"), *expected, "{name}: {value}");
        }
        let required = ["specversion", "type", "source", "id", "subject"].map(|name| format!("/headers/ce-{name}"));
        assert_eq!(pointers(&[], "{}"), required);
        let twice: Vec<_> = GOOD.into_iter().chain([("id", "e-1")]).collect();
        assert_eq!(pointers(&twice, "{}"), ["/headers/ce-id"]);
        assert_eq!(pointers(&GOOD, "[]"), ["/data"]);
        assert_eq!(pointers(&GOOD, r#"{"x":"\u0000"}"#), ["/data/x"]);
        assert!(matches!(read(&GOOD, "nonsense"), Err(BodyError::NotJson(_))));
    }

    #[test]
    fn what_says_the_same_as_the_content_type_is_taken() {
        for same in
            ["application/json", "Application/JSON; charset=UTF-8", "application%2Fjson", "\"application/json\""]
        {
            assert_eq!(pointers(&changed("datacontenttype", same), "{}"), [""; 0], "{same}");
        }
    }

    #[test]
    fn values_are_decoded_as_the_binding_says() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"plain", Some("plain")),
            (b"Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro \u{20ac} \u{1f600}")),
            (b"%41%2d%2D", Some("A--")),
            (b"%2541", Some("%41")),
            (b"\"a \\\"b\\\\\"", Some("a \"b\\")),
            (b"\"%41\"", Some("A")),
            (b"", Some("")),
            (b"\"open", None),
            (b"\"a\"b", None),
            (b"%4", None),
            (b"%+1", None),
            (b"%C0%A0", None),
            (b"\xff", None),
        ];
        for (value, expected) in cases {
            assert_eq!(header_text(value).as_deref(), *expected, "{}", String::from_utf8_lossy(value));
        }
    }

    proptest! {
        #[test]
        fn what_a_sender_encodes_comes_back(text in "\\PC{0,12}") {
            let mut encoded = String::new();
            for byte in text.bytes() {
                match byte {
                    b'"' | b'%' => encoded.push_str(&format!("%{byte:02X}")),
                    0x21..=0x7e => encoded.push(char::from(byte)),
                    _ => encoded.push_str(&format!("%{byte:02X}")),
                }
            }
            prop_assert_eq!(header_text(encoded.as_bytes()), Some(text));
        }

        #[test]
        fn extension_headers_change_nothing(
            others in prop::collection::vec(("x[a-z0-9_-]{0,8}", prop::collection::vec(any::<u8>(), 0..12)), 0..8),
        ) {
            let own = GOOD.map(|(name, value)| (name, value.as_bytes()));
            let all = others.iter().map(|(name, value)| (name.as_str(), value.as_slice())).chain(own);
            let read = |headers: Vec<(&str, &[u8])>| {
                submission::binary("application/json", headers.into_iter(), &Bytes::from_static(b"{}"))
            };
            prop_assert_eq!(read(all.collect()), read(own.to_vec()));
        }
    }
}
