//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a command that is sent again with its key is done
//! once, and gets the answer of the first time.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use shared::store::idempotency::IdempotencyKey;

use super::problem::{Code, Problem};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// In the answer to a repeat.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key.
pub(crate) const MAX: usize = 255;

/// The key of a request, and the hash of the request: its method, path, `If-Match` and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    text: String,
    fingerprint: [u8; 32],
}

impl RequestKey {
    /// That of a request with this body, if it has one. 400 if it is none.
    pub(crate) fn of(parts: &Parts, body: &[u8]) -> Result<Option<Self>, Problem> {
        let Some(text) = text(&parts.headers)? else { return Ok(None) };
        let mut hash = Context::new(&SHA256);
        let request_line = [parts.method.as_str().as_bytes(), b" ", parts.uri.path().as_bytes(), b"\n"];
        // No value of a header has a line feed: two requests that differ are two texts.
        let states = parts.headers.get_all(IF_MATCH).iter().flat_map(|value| [value.as_bytes(), b"\n"]);
        for part in request_line.into_iter().chain(states).chain([b"\n".as_slice(), body]) {
            hash.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        Ok(Some(Self { text, fingerprint }))
    }

    /// The key among those of a caller.
    pub(crate) fn of_caller<'a>(&'a self, subject: &'a str) -> IdempotencyKey<'a> {
        IdempotencyKey { subject, key: &self.text, fingerprint: &self.fingerprint }
    }
}

/// The text of the key: a string of structured fields (RFC 9651) or, as most clients send it, the text alone.
fn text(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong = |detail: String| Err(Problem::new(Code::BAD_REQUEST, detail));
    let mut given = headers.get_all(HEADER).iter();
    let given = match (given.next(), given.next()) {
        (None, _) => return Ok(None),
        (Some(given), None) => given.as_bytes().trim_ascii(),
        (Some(_), Some(_)) => return wrong("Idempotency-Key occurs more than once".to_owned()),
    };
    let text = match given.strip_prefix(b"\"") {
        None => Some(Cow::Borrowed(given)),
        Some(quoted) => unquoted(quoted).map(Cow::Owned),
    };
    let is_key =
        |text: &Cow<'_, [u8]>| (1..=MAX).contains(&text.len()) && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    match text.filter(is_key).and_then(|text| String::from_utf8(text.into_owned()).ok()) {
        Some(text) => Ok(Some(text)),
        None => wrong(format!("Idempotency-Key must be 1 to {MAX} printable ASCII characters, perhaps in quotes")),
    }
}

/// The text of a quoted string, behind its first quote.
fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let (mut text, mut bytes) = (Vec::with_capacity(quoted.len()), quoted.iter().copied());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return bytes.next().is_none().then_some(text),
            b'\\' => text.push(bytes.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
            byte => text.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use axum::http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn key(method: &str, path: &str, keys: &[&str], body: &str) -> Result<Option<RequestKey>, String> {
        conditional(method, path, keys, &[], body)
    }

    fn conditional(
        method: &str,
        path: &str,
        keys: &[&str],
        tags: &[&str],
        body: &str,
    ) -> Result<Option<RequestKey>, String> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in keys.iter().map(|key| (HEADER, key)).chain(tags.iter().map(|tag| (IF_MATCH, tag))) {
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        RequestKey::of(&parts, body.as_bytes()).map_err(|problem| {
            assert_eq!(problem.code, Code::BAD_REQUEST);
            String::from_utf8(problem.body("r")).unwrap()
        })
    }

    #[test]
    fn a_key_is_a_text_with_or_without_quotes() {
        let text = |given: &str| key("POST", "/things", &[given], "").map(|key| key.unwrap().text);
        for (given, expected) in [
            ("abc", "abc"),
            ("\"abc\"", "abc"),
            (" \"a b\" ", "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (&"k".repeat(MAX), &"k".repeat(MAX)),
        ] {
            assert_eq!(text(given).as_deref(), Ok(expected), "{given}");
        }
        let long = "k".repeat(MAX + 1);
        for bad in ["", "\"\"", "\"abc", "\"abc\";a=1", "\"a\"b\"", r#""a\b""#, r#""a\"#, "ä", "a\tb", &long] {
            assert!(text(bad).unwrap_err().contains("Idempotency-Key must be"), "{bad:?}");
        }
        assert_eq!(key("POST", "/things", &[], ""), Ok(None));
        assert!(key("POST", "/things", &["a", "a"], "").unwrap_err().contains("more than once"));
    }

    #[test]
    fn another_request_has_another_fingerprint() {
        let print = |method, path, body| key(method, path, &["k"], body).unwrap().unwrap().fingerprint;
        let first = print("POST", "/things", "{}");
        assert_eq!(print("POST", "/things?x=1", "{}"), first, "a parameter that is not known changes nothing");
        for other in [print("PATCH", "/things", "{}"), print("POST", "/thing", "{}"), print("POST", "/things", "{ }")] {
            assert_ne!(other, first);
        }
        let of_state =
            |tags: &[&str], body| conditional("POST", "/things", &["k"], tags, body).unwrap().unwrap().fingerprint;
        let prints = [
            of_state(&[], "{}"),
            of_state(&["\"7\""], "{}"),
            of_state(&["\"8\""], "{}"),
            of_state(&["\"7\"", "\"8\""], "{}"),
            of_state(&[], "\"7\"\n\n{}"),
        ];
        assert_eq!(HashSet::from(prints).len(), prints.len());
    }

    proptest! {
        #[test]
        fn any_text_in_quotes_is_that_text(text in "[ -~]{1,40}") {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let found = key("POST", "/things", &[&quoted], "").unwrap().unwrap();
            prop_assert_eq!(&found.text, &text);
            prop_assert_eq!(found.of_caller("alice").key, text);
        }
    }
}
