//! The JSON event format: one object with the attributes and `data`.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Attributes, REQUIRED, Submitted, is_name};
use crate::runtime::json::{BodyError, Payload, at, each_member, text};

/// Parses one CloudEvent in the JSON format. `value` is a part of `body`; the payload shares the memory of `body`. A
/// member that is null counts as absent, as the format says. The error lists every fault.
pub fn structured<T, S>(body: &Bytes, value: &RawValue) -> Result<Submitted<T, S>, BodyError>
where
    T: FromStr<Err: Display>,
    S: FromStr<Err: Display>,
{
    let members = Members::of(value)?;
    let is_null = |value: &RawValue| value.get() == "null";
    let mut attributes = Attributes::new();
    let mut data = None;
    for (name, value) in members.all.iter().filter(|(_, value)| !is_null(value)) {
        let here = || at("").then(name);
        match name.as_ref() {
            "data" => data = Some(*value),
            "data_base64" => attributes.faults.add(here, "is not accepted: send the payload as data"),
            _ if !is_name(name) => {
                attributes.faults.add(here, "is not an attribute name (lower-case letters and digits)")
            }
            name => {
                // The value of an extension is ignored.
                if REQUIRED.contains(&name) || OPTIONAL.contains(&name) {
                    match text(value) {
                        Ok(text) => attributes.take(name, here, &text),
                        Err(wrong) => attributes.faults.add(here, wrong),
                    }
                }
            }
        }
    }
    if members.too_many {
        attributes.faults.add(|| at(""), format!("has more than {MAX_MEMBERS} members"));
    }
    for wrong in &members.names {
        attributes.faults.add(|| at(""), format!("has a key that {wrong}"));
    }
    for name in members.repeated() {
        attributes.faults.add(|| at("").then(name), "occurs more than once");
    }
    let is_there = |name: &str| members.all.iter().any(|(found, value)| found == name && !is_null(value));
    for name in REQUIRED.into_iter().filter(|name| !is_there(name)) {
        attributes.faults.add(|| at("").then(name), "is required");
    }
    if data.is_none() {
        attributes.faults.add(|| at("/data"), "is required");
    }
    let payload = data.map(|data| Payload::check(body.slice_ref(data.get().as_bytes()), "/data"));
    attributes.with(payload).map_err(BodyError::NotAnEvent)
}

/// Optional attributes, which must be strings.
const OPTIONAL: [&str; 3] = ["time", "datacontenttype", "dataschema"];

/// The members of an object, in order.
#[derive(Default)]
struct Members<'a> {
    all: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// The faults of names that are not valid text.
    names: Vec<&'static str>,
    too_many: bool,
}

impl<'a> Members<'a> {
    fn of(value: &'a RawValue) -> Result<Self, BodyError> {
        let mut members = Self::default();
        each_member(value, |name, value| {
            if members.all.len() + members.names.len() == MAX_MEMBERS {
                members.too_many = true;
                return;
            }
            match name {
                Ok(name) => members.all.push((name, value)),
                Err(wrong) => members.names.push(wrong),
            }
        })?;
        Ok(members)
    }

    /// The names that occur more than once.
    fn repeated(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.all.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        let same = names.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
        same.filter_map(|same| same.first().copied()).collect()
    }
}

/// More members than any event has; a limit to save memory.
const MAX_MEMBERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::submission::{self, Submission};
    use proptest::prelude::*;

    const GOOD: &str =
        r#""specversion":"1.0","type":"io.edge.device.reported.v1","source":"/x","id":"e-1","subject":"d""#;

    fn read(text: &str) -> Result<Submission, BodyError> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        submission::structured(&body, serde_json::from_slice(&body).unwrap())
    }

    fn pointers(text: &str) -> Vec<String> {
        match read(text) {
            Ok(_) => Vec::new(),
            Err(BodyError::NotAnEvent(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn the_whole_event() {
        let event = read(&format!(
            r#"{{{GOOD},"time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","dataschema":"https://s/1",
                "data":{{"a" : 1.0}},"sequence":7,"whole":-5.0e1,"sampled":true,"traceparent":"x","gone":null}}"#
        ))
        .unwrap();
        assert_eq!((event.device_id.as_str(), event.event_id.unwrap().as_str()), ("d", "e-1"));
        assert_eq!(event.occurred_at, Some(time::macros::datetime!(2026-01-02 03:04:05 UTC)));
        assert_eq!(event.payload.as_str(), r#"{"a" : 1.0}"#, "byte for byte");
    }

    #[test]
    fn what_may_be_absent_may_be_null() {
        let event = read(&format!(r#"{{{GOOD},"data":{{}},"time":null,"datacontenttype":null,"data_base64":null}}"#));
        assert_eq!(event.unwrap().occurred_at, None);
        assert_eq!(pointers(&format!(r#"{{{GOOD},"data":null}}"#)), ["/data"]);
    }

    #[test]
    fn every_fault_with_its_pointer() {
        let with = |more: &str| format!(r#"{{{GOOD},"data":{{}},{more}}}"#);
        let changed = |from: &str, to: &str| format!(r#"{{{},"data":{{}}}}"#, GOOD.replace(from, to));
        let cases: &[(String, &[&str])] = &[
            ("[]".into(), &[""]),
            ("{}".into(), &["/specversion", "/type", "/source", "/id", "/subject", "/data"]),
            (changed("\"1.0\"", "\"0.3\""), &["/specversion"]),
            (changed("\"1.0\"", "1.0"), &["/specversion"]),
            (changed(".v1", ".v2"), &["/type"]),
            (changed("/x", ""), &["/source"]),
            (changed("/x", "a b"), &["/source"]),
            (changed("e-1", "e 1"), &["/id"]),
            (changed("\"d\"", "\"\""), &["/subject"]),
            (changed("\"d\"", "null"), &["/subject"]),
            (with(r#""time":"now""#), &["/time"]),
            (with(r#""datacontenttype":"text/xml""#), &["/datacontenttype"]),
            (with(r#""dataschema":"x""#), &["/dataschema"]),
            (with(r#""data_base64":"e30=""#), &["/data_base64"]),
            (with(r#""Upper":1,"a_b":"","a/b":"""#), &["/Upper", "/a_b", "/a~1b"]),
            (with(r#""subject":"e""#), &["/subject"]),
            (changed("e-1", "\\ud800"), &["/id"]),
            (with(r#""\ud800":"""#), &[""]),
            (format!(r#"{{{GOOD},"data":[]}}"#), &["/data"]),
            (format!(r#"{{{GOOD},"data":{{"x":"\u0000"}}}}"#), &["/data/x"]),
        ];
        for (text, expected) in cases {
            assert_eq!(pointers(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_hundred_thousand_members_are_few_faults() {
        let many: Vec<String> = (0..100_000).map(|n| format!(r#""A{n}":[]"#)).collect();
        let found = pointers(&format!("{{{}}}", many.join(",")));
        assert_eq!(found.len(), 21);
        let names: Vec<String> = (0..1000).map(|_| r#""\ud800":1"#.to_owned()).collect();
        assert_eq!(pointers(&format!("{{{}}}", names.join(","))).len(), 21);
    }

    proptest! {
        #[test]
        fn extensions_change_nothing(
            names in prop::collection::hash_set("x[a-z0-9]{1,19}", 0..8),
            value in prop::sample::select(vec!["\"100%\"", "7", "-2147483649", "1e999", "true", "{}", "[1.5]", "\"\\udc00\""]),
        ) {
            let plain = read(&format!(r#"{{{GOOD},"data":{{}}}}"#));
            let more: String = names.iter().map(|name| format!(r#","{name}":{value}"#)).collect();
            prop_assert_eq!(read(&format!(r#"{{{GOOD},"data":{{}}{more}}}"#)), plain);
        }
    }
}
