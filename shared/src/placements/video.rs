//! Videos, and products.

use bytes::Bytes;

use super::values::{MAX_MS, MAX_NAME, MAX_TITLE, frame_rate, number, words};
use crate::runtime::json::members::{Members, boolean};
use crate::runtime::json::{BodyError, json};

/// What an editor says of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVideo {
    /// Its title.
    pub title: String,
    /// How long it is, in milliseconds.
    pub duration_ms: u32,
    /// Thousandths of a frame a second, if it is known.
    pub frame_rate: Option<u32>,
}

/// The names of its members, as they are sent.
pub(super) const MEMBERS: [&str; 3] = ["title", "durationMs", "frameRate"];
/// The members that only the services set.
const READ_ONLY: [&str; 8] =
    ["id", "version", "revision", "readyRevision", "placements", "files", "createdAt", "updatedAt"];

/// The fault of a member that [`MEMBERS`] does not have.
pub(super) fn other(name: &str) -> Option<String> {
    let detail = if READ_ONLY.contains(&name) { "is read-only" } else { "is not a field of a video" };
    Some(detail.to_owned())
}

impl NewVideo {
    /// Parses the body that creates a video. The error lists every fault. An optional member that is null counts as
    /// absent.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let mut members = Members::of(json(body)?, "", &MEMBERS, other)?;
        let title = members.required("title", |raw| words(raw, MAX_TITLE));
        let duration_ms = members.required("durationMs", |raw| number(raw, 1, MAX_MS));
        let frame_rate = members.optional("frameRate", frame_rate);
        match (title, duration_ms) {
            (Some(title), Some(duration_ms)) if members.are_sound() => Ok(Self { title, duration_ms, frame_rate }),
            _ => Err(BodyError::NotAnEvent(members.into_faults())),
        }
    }
}

/// What is said of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProduct {
    /// Its name.
    pub name: String,
    /// Whether it may be placed.
    pub active: bool,
}

impl NewProduct {
    /// Parses the body that sets a product. The error lists every fault.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        const READ_ONLY: [&str; 4] = ["id", "version", "createdAt", "updatedAt"];
        let other = |name: &str| {
            Some(if READ_ONLY.contains(&name) { "is read-only" } else { "is not a field of a product" }.to_owned())
        };
        let mut members = Members::of(json(body)?, "", &["name", "active"], other)?;
        let name = members.required("name", |raw| words(raw, MAX_NAME));
        let active = members.required("active", boolean);
        match (name, active) {
            (Some(name), Some(active)) if members.are_sound() => Ok(Self { name, active }),
            _ => Err(BodyError::NotAnEvent(members.into_faults())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: std::fmt::Debug>(parsed: Result<T, BodyError>) -> Vec<String> {
        let Err(BodyError::NotAnEvent(faults)) = parsed else { panic!("{parsed:?}") };
        faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
    }

    #[test]
    fn a_video() {
        let parse = |json: &'static str| NewVideo::parse(&Bytes::from_static(json.as_bytes()));
        let video = NewVideo { title: "film".into(), duration_ms: 86_400_000, frame_rate: Some(29_970) };
        assert_eq!(parse(r#"{"title":"film","durationMs":86400000,"frameRate":29.97}"#), Ok(video.clone()));
        let unknown = NewVideo { frame_rate: None, ..video };
        assert_eq!(parse(r#"{"title":"film","durationMs":86400000,"frameRate":null}"#), Ok(unknown));
        let all = [
            "/id is read-only",
            "/x is not a field of a video",
            "/title must be 1 to 500 characters long",
            "/durationMs must be a whole number from 1 to 86400000",
            "/frameRate must be a number from 0.001 to 1000",
        ];
        assert_eq!(told(parse(r#"{"id":1,"title":"","durationMs":86400001,"frameRate":0,"x":1}"#)), all);
        assert_eq!(told(parse("{}")), ["/title is required", "/durationMs is required"]);
        assert!(matches!(parse("{"), Err(BodyError::NotJson(_))));
    }

    #[test]
    fn a_product() {
        let parse = |json: &'static str| NewProduct::parse(&Bytes::from_static(json.as_bytes()));
        assert_eq!(parse(r#"{"active":false,"name":"Mug"}"#), Ok(NewProduct { name: "Mug".into(), active: false }));
        let all = [
            "/version is read-only",
            "/n is not a field of a product",
            "/name must be a string",
            "/active is required",
        ];
        assert_eq!(told(parse(r#"{"version":1,"n":2,"name":7}"#)), all);
        assert_eq!(told(parse("[]")), [" must be a JSON object"]);
    }
}
