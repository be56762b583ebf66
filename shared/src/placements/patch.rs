//! Changes of placements and videos: JSON merge patches (RFC 7396).

use bytes::Bytes;
use serde_json::value::RawValue;

use super::area::{Range, RegionPatch};
use super::placement::{self, Placed};
use super::values::{MAX_LAYER, MAX_MS, MAX_NAME, MAX_TITLE, campaign, frame_rate, number, words};
use super::video::{self, NewVideo};
use super::{NewPlacement, ProductId};
use crate::runtime::json::members::{Members, parsed};
use crate::runtime::json::{BodyError, Fault, json};

/// A change of an optional member: `Some(None)` removes it.
type Removable<T> = Option<Option<T>>;

/// The changes of a placement. Its video stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlacementPatch {
    product: Option<ProductId>,
    campaign: Removable<i64>,
    start: Option<u32>,
    end: Option<u32>,
    layer: Option<u16>,
    region: Removable<RegionPatch>,
    label: Removable<String>,
}

impl PlacementPatch {
    /// Parses a merge patch. The error lists every fault.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let mut members = Members::of(json(body)?, "", &placement::MEMBERS, placement::other)?;
        if members.get("videoId").is_some() {
            members.fault("videoId", "cannot be changed: delete the placement, and create another one");
        }
        let patch = Self {
            product: set(&mut members, "productId", parsed),
            campaign: set_or_removed(&mut members, "campaignId", campaign),
            start: set(&mut members, "startMs", |raw| number(raw, 0, MAX_MS - 1)),
            end: set(&mut members, "endMs", |raw| number(raw, 1, MAX_MS)),
            // Without a layer it has the lowest one.
            layer: set_or_removed(&mut members, "layer", |raw| number(raw, 0, MAX_LAYER))
                .map(Option::unwrap_or_default),
            region: match members.get("region") {
                Some(raw) if raw.get() == "null" => Some(None),
                Some(raw) => {
                    let read = RegionPatch::parse(raw).map_err(|faults| members.faults_below("region", faults));
                    read.ok().map(Some)
                }
                None => None,
            },
            label: set_or_removed(&mut members, "label", |raw| words(raw, MAX_NAME)),
        };
        finished(members, patch)
    }

    /// The placement after the change, with its version as it was. The error lists every fault that it then has.
    pub fn apply(&self, old: &Placed) -> Result<Placed, Vec<Fault>> {
        let mut faults = Vec::new();
        let times = (self.start.unwrap_or(old.range.start()), self.end.unwrap_or(old.range.end()));
        let range = Range::new(times.0, times.1).unwrap_or_else(|error| {
            let pointer = if self.end.is_some() { "/endMs" } else { "/startMs" };
            let detail = if self.end.is_some() { error.to_string() } else { "must be less than endMs".to_owned() };
            faults.push(Fault { pointer: pointer.to_owned(), detail });
            old.range
        });
        let region = match self.region {
            None => old.region,
            Some(None) => None,
            Some(Some(patch)) => {
                let below = |Fault { pointer, detail }| Fault { pointer: format!("/region{pointer}"), detail };
                let changed = patch.apply(old.region).map_err(|found| faults.extend(found.into_iter().map(below)));
                changed.ok()
            }
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let new = NewPlacement {
            video: old.video,
            product: self.product.clone().unwrap_or_else(|| old.product.clone()),
            campaign: self.campaign.unwrap_or(old.campaign),
            range,
            layer: self.layer.unwrap_or(old.layer),
            region,
            label: self.label.clone().unwrap_or_else(|| old.label.clone()),
        };
        Ok(Placed::of(new, old.id, old.version))
    }
}

/// The changes of a video.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoPatch {
    title: Option<String>,
    duration_ms: Option<u32>,
    frame_rate: Removable<u32>,
}

impl VideoPatch {
    /// Parses a merge patch. The error lists every fault.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let mut members = Members::of(json(body)?, "", &video::MEMBERS, video::other)?;
        let patch = Self {
            title: set(&mut members, "title", |raw| words(raw, MAX_TITLE)),
            duration_ms: set(&mut members, "durationMs", |raw| number(raw, 1, MAX_MS)),
            frame_rate: set_or_removed(&mut members, "frameRate", frame_rate),
        };
        finished(members, patch)
    }

    /// The video after the change. Placements that end behind a shorter one stay: the validation finds them.
    pub fn apply(&self, old: &NewVideo) -> NewVideo {
        NewVideo {
            title: self.title.clone().unwrap_or_else(|| old.title.clone()),
            duration_ms: self.duration_ms.unwrap_or(old.duration_ms),
            frame_rate: self.frame_rate.unwrap_or(old.frame_rate),
        }
    }
}

/// A member that can have another value, and cannot be removed.
fn set<'a, T>(
    members: &mut Members<'a>,
    name: &str,
    parse: impl FnOnce(&'a RawValue) -> Result<T, String>,
) -> Option<T> {
    let raw = members.get(name)?;
    if raw.get() == "null" {
        members.fault(name, "cannot be removed");
        return None;
    }
    members.optional(name, parse)
}

/// A member that can have another value, or be removed.
fn set_or_removed<'a, T>(
    members: &mut Members<'a>,
    name: &str,
    parse: impl FnOnce(&'a RawValue) -> Result<T, String>,
) -> Removable<T> {
    let raw = members.get(name)?;
    if raw.get() == "null" { Some(None) } else { members.optional(name, parse).map(Some) }
}

fn finished<T>(members: Members<'_>, patch: T) -> Result<T, BodyError> {
    let faults = members.into_faults();
    if faults.is_empty() { Ok(patch) } else { Err(BodyError::NotAnEvent(faults)) }
}

#[cfg(test)]
mod tests;
