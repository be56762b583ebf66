//! The members of a JSON object whose names are known: read one by one, with all their faults.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{BodyError, Fault, Faults, at, each_member, text};
use crate::runtime::rfc3339;

/// The members of an object, unparsed, and the faults found so far.
#[derive(Debug)]
pub struct Members<'a> {
    at: &'static str,
    given: Vec<(&'static str, &'a RawValue)>,
    faults: Faults,
}

impl<'a> Members<'a> {
    /// The members that have one of these names, of the object at the JSON pointer `place`. For any other name `other`
    /// returns the fault, or `None` if the member is ignored.
    pub fn of(
        object: &'a RawValue,
        place: &'static str,
        names: &[&'static str],
        other: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BodyError> {
        if !object.get().starts_with('{') {
            let fault = Fault { pointer: place.to_owned(), detail: "must be a JSON object".into() };
            return Err(BodyError::NotAnEvent(vec![fault]));
        }
        let mut members = Self { at: place, given: Vec::with_capacity(names.len()), faults: Faults::default() };
        let Self { given, faults, .. } = &mut members;
        each_member(object, |name, value| {
            let name = match name {
                Ok(name) => name,
                Err(wrong) => return faults.add(|| at(place), format!("has a key that {wrong}")),
            };
            let Some(known) = names.iter().find(|known| **known == name) else {
                return other(&name).into_iter().for_each(|wrong| faults.add(|| at(place).then(&name), wrong));
            };
            if given.iter().any(|(other, _)| other == known) {
                return faults.add(|| at(place).then(&name), "is there more than once");
            }
            given.push((known, value));
        })?;
        Ok(members)
    }

    /// A member's value, unparsed.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }

    /// The same, unless it is null.
    pub fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.get(name).filter(|value| value.get() != "null")
    }

    /// A member's value. That it is absent is a fault.
    pub fn required<T>(&mut self, name: &str, parse: impl FnOnce(&'a RawValue) -> Result<T, String>) -> Option<T> {
        let value = self.get(name).ok_or_else(|| "is required".to_owned());
        self.ok(name, value.and_then(parse))
    }

    /// A member's value, if it is given. Null counts as absent.
    pub fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&'a RawValue) -> Result<T, String>) -> Option<T> {
        let value = self.given(name)?;
        self.ok(name, parse(value))
    }

    /// Adds a fault of a member.
    pub fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.add(|| at(self.at).then(name), detail);
    }

    /// Adds faults whose pointers are relative to a member.
    pub fn faults_below(&mut self, name: &'static str, faults: Vec<Fault>) {
        for Fault { pointer, detail } in faults {
            self.faults.add(|| at(&format!("{}/{name}{pointer}", self.at)), detail);
        }
    }

    /// Whether no member has a fault so far.
    pub fn are_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// All faults.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults.list(self.at)
    }

    fn ok<T>(&mut self, name: &str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|detail| self.fault(name, detail)).ok()
    }
}

/// Parses a JSON string.
pub fn parsed<T: FromStr<Err: Display>>(raw: &RawValue) -> Result<T, String> {
    text(raw)?.parse().map_err(|error: T::Err| error.to_string())
}

/// Parses a JSON string as a time.
pub fn instant(raw: &RawValue) -> Result<OffsetDateTime, String> {
    let time = rfc3339::parse(&text(raw)?);
    time.ok_or_else(|| "must be a date and time of RFC 3339, in the years 1 to 9999".into())
}

/// Parses a whole number from 1 to `most`. It is read from its digits: `2.0` and `2e0` are refused.
pub fn whole(raw: &RawValue, most: u32) -> Result<u32, String> {
    let number = raw.get().parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {most}"))
}

/// Parses a boolean.
pub fn boolean(raw: &RawValue) -> Result<bool, String> {
    raw.get().parse().map_err(|_| "must be true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn members(json: &str) -> Members<'_> {
        let other = |name: &str| (name != "open").then(|| "is unknown".to_owned());
        Members::of(raw(json), "/p", &["a", "b"], other).unwrap()
    }

    fn pointers(members: Members<'_>) -> Vec<String> {
        members.into_faults().into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn each_member_by_its_name() {
        let mut good = members(r#" {"b":null,"\u0061" : 7,"open":[]} "#);
        assert_eq!(good.required("a", |raw| whole(raw, 9)), Some(7));
        assert_eq!(good.optional("b", boolean), None);
        assert!(good.get("b").is_some() && good.given("b").is_none() && good.are_sound());
        assert_eq!(pointers(good), [""; 0]);
    }

    #[test]
    fn every_fault_with_its_pointer() {
        let mut bad = members(r#"{"b":1,"b":true,"x/y":1,"\ud800":1}"#);
        assert_eq!(bad.required("a", boolean), None);
        assert_eq!(bad.optional("b", boolean), None, "the first one counts");
        bad.faults_below("a", vec![Fault { pointer: "/3".into(), detail: "is wrong".into() }]);
        assert!(!bad.are_sound());
        let faults = [
            "/p/b is there more than once",
            "/p/x~1y is unknown",
            "/p has a key that contains a lone surrogate",
            "/p/a is required",
            "/p/b must be true or false",
            "/p/a/3 is wrong",
        ];
        assert_eq!(pointers(bad), faults);
        for none in ["[]", "null", "7", r#""{}""#] {
            let fault = Fault { pointer: "/p".into(), detail: "must be a JSON object".into() };
            let refused = Members::of(raw(none), "/p", &[], |_| None).unwrap_err();
            assert_eq!(refused, BodyError::NotAnEvent(vec![fault]), "{none}");
        }
    }

    #[test]
    fn a_whole_number_is_its_digits() {
        assert_eq!(whole(raw("1"), 9), Ok(1));
        assert_eq!(whole(raw("9"), 9), Ok(9));
        for bad in ["0", "10", "-1", "1.0", "1e0", r#""1""#, "true", "4294967297", "[1]", "null"] {
            assert_eq!(whole(raw(bad), 9), Err("must be a whole number from 1 to 9".to_owned()), "{bad}");
        }
    }
}
