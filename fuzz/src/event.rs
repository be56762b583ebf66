//! The body of `POST /events`, and the same input as a batch in both forms.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use shared::devices::submission::{parse, parse_value};
use shared::runtime::json::BodyError;
use shared::runtime::json::items::{self, BatchError};

use crate::oracle;

/// The maximum number of events in a batch here, small enough for a fuzzer to reach.
const MOST: usize = 64;
/// The byte order mark of UTF-8, which is ignored before JSON.
const BOM: &[u8] = b"\xef\xbb\xbf";

pub fn event(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    if !input.starts_with(BOM) {
        let marked = Bytes::from([BOM, input].concat());
        assert_eq!(parse(&marked), parse(&body), "a byte order mark counts");
        assert_eq!(texts(&marked), texts(&body), "a byte order mark counts");
    }
    match parse(&body) {
        Ok(submission) => oracle::check(&body, &submission),
        Err(BodyError::NotJson(_)) => {}
        Err(BodyError::NotAnEvent(faults)) => {
            assert!(!faults.is_empty(), "refused without a reason");
            assert!(faults.len() < 64, "an answer that is larger than the question");
            assert!(faults.iter().all(|fault| fault.pointer.is_empty() || fault.pointer.starts_with('/')));
            oracle::lead_somewhere(&faults, input);
        }
    }
    // The input is tried as a payload, and as an object that contains one.
    if let Ok(json) = serde_json::from_slice::<&RawValue>(input) {
        oracle::taken_by_the_rules(json);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        oracle::named_by_the_rules(text);
    }
    if let Ok(members) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(input)
        && let Some(payload) = members.get("payload")
    {
        oracle::taken_by_the_rules(payload);
    }
    if let Ok(members) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(input)
        && let Some(id) = members.get("device_id").and_then(serde_json::Value::as_str)
    {
        oracle::named_by_the_rules(id);
    }
    for item in items::array(&body, MOST).unwrap_or_default() {
        if let Ok(submission) = parse_value(&body, item) {
            oracle::check(&body, &submission);
        }
    }
    for line in items::lines(&body, MOST).unwrap_or_default() {
        if let Ok(submission) = parse(&line.text) {
            oracle::check(&line.text, &submission);
        }
    }
}

/// The items of an array.
fn texts(body: &Bytes) -> Result<Vec<&str>, BatchError> {
    Ok(items::array(body, MOST)?.into_iter().map(RawValue::get).collect())
}

pub fn accepted(input: &[u8]) -> Option<String> {
    parse(&Bytes::copy_from_slice(input)).ok().map(|submission| submission.payload.as_str().to_owned())
}
