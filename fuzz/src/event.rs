//! The body of `POST /events`, and the same input as a batch in both forms.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use shared::devices::submission::{parse, parse_value};
use shared::runtime::json::{BodyError, items};

use crate::oracle;

/// The maximum number of events in a batch here, small enough for a fuzzer to reach.
const MOST: usize = 64;

pub fn event(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
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
    if let Ok(members) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(input)
        && let Some(payload) = members.get("payload")
    {
        oracle::taken_by_the_rules(payload);
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

pub fn accepted(input: &[u8]) -> Option<String> {
    parse(&Bytes::copy_from_slice(input)).ok().map(|submission| submission.payload.as_str().to_owned())
}
