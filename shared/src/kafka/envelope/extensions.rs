//! The extension attributes that a stream declares: headers in binary mode, members in structured mode. One that is
//! null counts as absent. Others are ignored.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Refusal, header, poison, text, without_nul};
use crate::kafka::Record;
use crate::runtime::json;

type Extensions = Vec<(&'static str, String)>;

/// Those that are headers.
pub(super) fn of_headers(record: &Record, declared: &[&'static str]) -> Result<Extensions, Refusal> {
    let mut found = Vec::with_capacity(declared.len());
    for &name in declared {
        if let Some(value) = text(record, &format!("{}{name}", header::ATTRIBUTE))? {
            found.push((name, value.to_owned()));
        }
    }
    Ok(found)
}

/// Those that are members of a CloudEvent in JSON, which is well-formed.
pub(super) fn of_members(event: &str, declared: &[&'static str]) -> Result<Extensions, Refusal> {
    // Events of most streams need not be parsed again.
    if declared.is_empty() {
        return Ok(Vec::new());
    }
    let not_json = || Refusal::undecodable("not a CloudEvent in JSON");
    let mut members: Vec<(&'static str, &RawValue)> = Vec::with_capacity(declared.len());
    let event: &RawValue = serde_json::from_str(event).map_err(|_| not_json())?;
    json::each_member(event, |name, value| {
        let known = name.ok().and_then(|name| declared.iter().find(|known| **known == name));
        members.extend(known.map(|name| (*name, value)));
    })
    .map_err(|_| not_json())?;
    let mut found: Extensions = Vec::with_capacity(members.len());
    for (name, raw) in members {
        if found.iter().any(|(other, _)| *other == name) {
            return poison(format!("{name} occurs more than once"));
        }
        if let Some(value) = value(name, raw)? {
            without_nul(name, &value)?;
            found.push((name, value.into_owned()));
        }
    }
    Ok(found)
}

/// The value of a member: numbers and booleans as they are written.
fn value<'a>(name: &str, raw: &'a RawValue) -> Result<Option<Cow<'a, str>>, Refusal> {
    match raw.get().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'{' | b'[') => poison(format!("{name} is neither a string nor a number nor a boolean")),
        Some(b'"') => match json::text(raw) {
            Ok(text) => Ok(Some(text)),
            Err(wrong) => poison(format!("{name} {wrong}")),
        },
        _ => Ok(Some(Cow::Borrowed(raw.get()))),
    }
}
