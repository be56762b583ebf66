//! Records of a topic, as any client could have written them.

use shared::devices::decode;
use shared::kafka::Record;

use crate::{headers_and_body, oracle};

/// Decodes a record: the header `key` is its key, the rest after the first empty line its value; a header
/// without a value is a null header.
pub fn topic(input: &[u8]) {
    let (lines, value) = headers_and_body(input);
    let key = lines.iter().find(|(name, _)| *name == b"key").map(|(_, value)| *value);
    let headers: Vec<_> = lines
        .iter()
        .filter(|(name, _)| *name != b"key")
        .map(|(name, value)| (*name, (!value.is_empty()).then_some(*value)))
        .collect();
    let record = Record::from_bytes(key, (!value.is_empty()).then_some(value), &headers);
    match decode(&record) {
        Ok(decoded) => {
            assert_eq!(Some(decoded.event.device_id.as_str().as_bytes()), key);
            assert_eq!(decoded.position.redriven, record.is_redriven());
            assert!(headers.iter().all(|(name, _)| std::str::from_utf8(name).is_ok_and(|name| !name.contains('\0'))));
            oracle::back_from_the_topic(decoded.envelope, &decoded.event.device_id);
        }
        Err(refusal) => {
            assert!(refusal.error.len() < 300, "a reason that is too long for a log: {refusal}");
            assert!(!refusal.error.chars().any(char::is_control), "a reason that breaks a log: {refusal:?}");
        }
    }
}
