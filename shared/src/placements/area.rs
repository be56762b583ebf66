//! Where a placement is: its time range, and its region of the picture.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::values::{MAX_MS, decimal, scaled};
use crate::runtime::json::members::Members;
use crate::runtime::json::{BodyError, Fault};

/// A half-open range of milliseconds of a video, which is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    start: u32,
    end: u32,
}

/// Two times are not a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be greater than startMs")]
pub struct RangeError;

impl Range {
    /// The range from `start` to `end`, which is greater, and at most [`MAX_MS`].
    pub fn new(start: u32, end: u32) -> Result<Self, RangeError> {
        if start < end && end <= MAX_MS { Ok(Self { start, end }) } else { Err(RangeError) }
    }

    /// Its first millisecond.
    pub const fn start(self) -> u32 {
        self.start
    }

    /// The first millisecond behind it.
    pub const fn end(self) -> u32 {
        self.end
    }

    /// Whether a millisecond is in both.
    pub const fn meets(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A fraction of the width or the height of a picture, in ten-thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fraction(u16);

impl Fraction {
    /// The whole.
    pub const ONE: Self = Self(10_000);

    /// So many ten-thousandths, at most 10,000.
    pub fn new(ten_thousandths: u16) -> Option<Self> {
        Some(Self(ten_thousandths)).filter(|fraction| *fraction <= Self::ONE)
    }

    /// The number of ten-thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }

    fn parse(raw: &RawValue) -> Result<Self, String> {
        let whole = f64::from(Self::ONE.0);
        let fraction = scaled(raw, whole, whole).and_then(|scaled| u16::try_from(scaled).ok()).and_then(Self::new);
        fraction.ok_or_else(|| "must be a number from 0 to 1".to_owned())
    }

    fn parse_length(raw: &RawValue) -> Result<Self, String> {
        let length = Self::parse(raw).ok().filter(|length| length.0 > 0);
        length.ok_or_else(|| "must be a number from 0.0001 to 1".to_owned())
    }
}

/// The number as JSON has it, with four decimals at most.
impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.0.into(), 4))
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(Self::ONE.0) {
            return serializer.serialize_u16(self.0 / Self::ONE.0);
        }
        // The shortest text of the nearest double has these decimals.
        serializer.serialize_f64(f64::from(self.0) / f64::from(Self::ONE.0))
    }
}

/// A rectangle of the picture, which has an area and lies within the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    x: Fraction,
    y: Fraction,
    width: Fraction,
    height: Fraction,
}

/// The members of a region, in the order of a change of one.
const MEMBERS: [&str; 4] = ["x", "y", "width", "height"];

impl Region {
    /// The whole picture.
    pub const WHOLE: Self = Self { x: Fraction(0), y: Fraction(0), width: Fraction::ONE, height: Fraction::ONE };

    /// Its left edge.
    pub const fn x(self) -> Fraction {
        self.x
    }

    /// Its upper edge.
    pub const fn y(self) -> Fraction {
        self.y
    }

    /// How wide it is.
    pub const fn width(self) -> Fraction {
        self.width
    }

    /// How high it is.
    pub const fn height(self) -> Fraction {
        self.height
    }

    /// Whether they have an area in common.
    pub const fn meets(self, other: Self) -> bool {
        self.x.0 < other.x.0 + other.width.0
            && other.x.0 < self.x.0 + self.width.0
            && self.y.0 < other.y.0 + other.height.0
            && other.y.0 < self.y.0 + self.height.0
    }

    /// Parses a region. The pointers of faults are relative to it.
    pub fn parse(raw: &RawValue) -> Result<Self, Vec<Fault>> {
        RegionPatch::parse(raw)?.apply(None)
    }

    fn faults(self) -> Vec<Fault> {
        let within = |at: Fraction, length: Fraction| at.0 + length.0 <= Fraction::ONE.0;
        let fault = |name: &str, edge: &str| Fault {
            pointer: format!("/{name}"),
            detail: format!("must be at most 1 together with {edge}: the region lies within the picture"),
        };
        let wide = (!within(self.x, self.width)).then(|| fault("width", "x"));
        let high = (!within(self.y, self.height)).then(|| fault("height", "y"));
        wide.into_iter().chain(high).collect()
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(MEMBERS.len()))?;
        for (name, value) in MEMBERS.into_iter().zip([self.x, self.y, self.width, self.height]) {
            members.serialize_entry(name, &value)?;
        }
        members.end()
    }
}

/// The members of a region that are given, in the order of [`MEMBERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegionPatch([Option<Fraction>; 4]);

impl RegionPatch {
    /// Parses a merge patch of a region. The pointers of faults are relative to it.
    pub(super) fn parse(raw: &RawValue) -> Result<Self, Vec<Fault>> {
        let read = |error: BodyError| match error {
            BodyError::NotAnEvent(faults) => faults,
            // It is a part of a body that was read already.
            BodyError::NotJson(detail) => vec![Fault { pointer: String::new(), detail }],
        };
        let other = |_: &str| Some("is not a field of a region".to_owned());
        let mut members = Members::of(raw, "", &MEMBERS, other).map_err(read)?;
        let mut given = [None; 4];
        for (name, place) in MEMBERS.into_iter().zip(&mut given) {
            let parse = if matches!(name, "x" | "y") { Fraction::parse } else { Fraction::parse_length };
            if members.get(name).is_some_and(|raw| raw.get() == "null") {
                members.fault(name, "cannot be removed");
            } else if members.get(name).is_some() {
                *place = members.required(name, parse);
            }
        }
        if members.are_sound() { Ok(Self(given)) } else { Err(members.into_faults()) }
    }

    /// The region after the change of `old`. A new one needs every member.
    pub(super) fn apply(self, old: Option<Region>) -> Result<Region, Vec<Fault>> {
        let old = old.map(|old| [old.x, old.y, old.width, old.height]);
        let mut changed = [None; 4];
        for (index, (place, given)) in changed.iter_mut().zip(self.0).enumerate() {
            *place = given.or_else(|| old.and_then(|old| old.get(index).copied()));
        }
        if let [Some(x), Some(y), Some(width), Some(height)] = changed {
            let region = Region { x, y, width, height };
            let faults = region.faults();
            return if faults.is_empty() { Ok(region) } else { Err(faults) };
        }
        let missing = MEMBERS.into_iter().zip(changed).filter(|(_, value)| value.is_none());
        let fault = |name: &str| Fault { pointer: format!("/{name}"), detail: "is required".to_owned() };
        Err(missing.map(|(name, _)| fault(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn told(faults: &[Fault]) -> Vec<String> {
        faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn a_region_lies_within_the_picture() {
        let json = r#"{"x":0.25,"y":0,"width":0.3,"height":1}"#;
        let region = Region::parse(raw(json)).unwrap();
        assert_eq!(serde_json::to_string(&region).unwrap(), json);
        assert_eq!(region.width().to_string(), "0.3");
        let all = r#"{"height":1.0,"width":1,"y":0e5,"x":0}"#;
        assert_eq!(Region::parse(raw(all)).unwrap(), Region::WHOLE);
        for (json, faults) in [
            ("[]", &[" must be a JSON object"][..]),
            (r#"{"x":0}"#, &["/y is required", "/width is required", "/height is required"]),
            (
                r#"{"x":-0.1,"y":"0","width":0,"height":0.00004}"#,
                &[
                    "/x must be a number from 0 to 1",
                    "/y must be a number from 0 to 1",
                    "/width must be a number from 0.0001 to 1",
                    "/height must be a number from 0.0001 to 1",
                ],
            ),
            (r#"{"x":0,"y":0,"width":1,"height":1,"z":1}"#, &["/z is not a field of a region"]),
            (r#"{"x":0,"y":null,"width":1,"height":1}"#, &["/y cannot be removed"]),
            (
                r#"{"x":0.5,"y":0.6,"width":0.5001,"height":0.5}"#,
                &[
                    "/width must be at most 1 together with x: the region lies within the picture",
                    "/height must be at most 1 together with y: the region lies within the picture",
                ],
            ),
        ] {
            assert_eq!(told(&Region::parse(raw(json)).unwrap_err()), faults, "{json}");
        }
    }

    #[test]
    fn a_range_is_not_empty_and_ends_with_the_day() {
        assert_eq!(Range::new(0, MAX_MS).map(|range| (range.start(), range.end())), Ok((0, MAX_MS)));
        for (start, end) in [(0, 0), (7, 7), (8, 7), (0, MAX_MS + 1)] {
            assert_eq!(Range::new(start, end), Err(RangeError), "{start} {end}");
        }
    }

    proptest! {
        #[test]
        fn ranges_meet_where_a_millisecond_is_in_both(a in 0..9_u32, b in 1..9_u32, c in 0..9_u32, d in 1..9_u32) {
            let (one, two) = (Range::new(a, a + b).unwrap(), Range::new(c, c + d).unwrap());
            let is_in = |range: Range, at: u32| (range.start()..range.end()).contains(&at);
            prop_assert_eq!(one.meets(two), (0..18).any(|at| is_in(one, at) && is_in(two, at)));
        }

        #[test]
        fn a_region_is_read_as_it_is_written(x in 0..=9_999_u16, y in 0..=9_999_u16, w in 1..=10_000_u16, h in 1..=10_000_u16) {
            let (x, y) = (Fraction(x), Fraction(y));
            let region = Region { x, y, width: Fraction(w.min(10_000 - x.0)), height: Fraction(h.min(10_000 - y.0)) };
            let text = serde_json::to_string(&region).unwrap();
            prop_assert_eq!(Region::parse(raw(&text)), Ok(region), "{}", text);
            prop_assert!(text.contains(&format!("\"x\":{x},")), "{} {}", text, x);
            prop_assert!(region.meets(region) && region.meets(Region::WHOLE));
        }
    }
}
