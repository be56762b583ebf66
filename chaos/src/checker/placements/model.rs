//! Videos and placements as JSON has them, in events, requests and answers alike.

use serde_json::{Value, json};

/// A video, without its placements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Video {
    pub(super) title: String,
    pub(super) duration_ms: i64,
    /// Thousandths of a frame a second.
    pub(super) frame_rate: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) product: String,
    pub(super) campaign: Option<i64>,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) layer: i64,
    /// `x`, `y`, `width` and `height`, in ten-thousandths.
    pub(super) region: Option<[i64; 4]>,
    pub(super) label: Option<String>,
}

/// The members of a region.
const REGION: [&str; 4] = ["x", "y", "width", "height"];
/// A fraction of a picture, and a frame rate, in units of these.
const TEN_THOUSANDTHS: f64 = 10_000.0;
const THOUSANDTHS: f64 = 1_000.0;

impl Video {
    /// `None` if the object is not a video.
    pub(super) fn of(object: &Value) -> Option<Self> {
        Some(Self {
            title: text(object, "title")??,
            duration_ms: whole(object, "durationMs")??,
            frame_rate: optional(object, "frameRate").map_or(Some(None), |rate| scaled(rate, THOUSANDTHS).map(Some))?,
        })
    }

    /// The video after a merge patch.
    pub(super) fn patched(&self, patch: &Value) -> Option<Self> {
        let Self { title, duration_ms, frame_rate } = self;
        let frame_rate = frame_rate.map(|rate| rate as f64 / THOUSANDTHS);
        Self::of(&merged(json!({"title": title, "durationMs": duration_ms, "frameRate": frame_rate}), patch))
    }
}

impl Placement {
    /// `None` if the object is not a placement.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let region = optional(object, "region").map_or(Some(None), |region| self::region(region).map(Some))?;
        Some(Self {
            product: text(object, "productId")??,
            campaign: whole(object, "campaignId")?,
            start: whole(object, "startMs")??,
            end: whole(object, "endMs")??,
            layer: whole(object, "layer")?.unwrap_or(0),
            region,
            label: text(object, "label")?,
        })
    }

    /// The placement after a merge patch.
    pub(super) fn patched(&self, patch: &Value) -> Option<Self> {
        Self::of(&merged(self.json(), patch))
    }

    /// With null for what it lacks.
    pub(super) fn json(&self) -> Value {
        let Self { product, campaign, start, end, layer, region, label } = self;
        let region = region.map(|region| {
            let members = REGION.into_iter().zip(region);
            Value::Object(members.map(|(name, part)| (name.into(), json!(part as f64 / TEN_THOUSANDTHS))).collect())
        });
        json!({
            "productId": product, "campaignId": campaign, "startMs": start, "endMs": end, "layer": layer,
            "region": region, "label": label
        })
    }

    /// Without a region it has the whole picture.
    pub(super) fn area(&self) -> [i64; 4] {
        self.region.unwrap_or([0, 0, 10_000, 10_000])
    }
}

/// A region as its column or its member has it.
pub(super) fn region(region: &Value) -> Option<[i64; 4]> {
    let mut parts = [0; 4];
    for (part, name) in parts.iter_mut().zip(REGION) {
        *part = scaled(region.get(name)?, TEN_THOUSANDTHS)?;
    }
    Some(parts)
}

fn scaled(value: &Value, unit: f64) -> Option<i64> {
    Some((value.as_f64()? * unit).round() as i64)
}

/// A member that is there and not null.
fn optional<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A member that is a whole number, or is absent; `None` if it is anything else.
fn whole(object: &Value, name: &str) -> Option<Option<i64>> {
    optional(object, name).map_or(Some(None), |value| value.as_i64().map(Some))
}

/// The same for a text.
fn text(object: &Value, name: &str) -> Option<Option<String>> {
    optional(object, name).map_or(Some(None), |value| value.as_str().map(|text| Some(text.to_owned())))
}

/// RFC 7396.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(members) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { serde_json::Map::new() };
    for (name, value) in members {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name).unwrap_or(Value::Null);
            target.insert(name.clone(), merged(old, value));
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_removes_what_is_null() {
        let region = json!({"x": 0.25, "y": 0, "width": 0.5, "height": 1});
        let old = json!({
            "productId": "mug", "campaignId": 7, "startMs": 0, "endMs": 9, "layer": 3, "region": region, "label": "a"
        });
        let old = Placement::of(&old).unwrap();
        assert_eq!(old.region, Some([2_500, 0, 5_000, 10_000]));
        assert_eq!(old.patched(&json!({})), Some(old.clone()));
        let patch = json!({"campaignId": null, "endMs": 10, "layer": null, "region": {"x": 0.5}});
        let expected =
            Placement { campaign: None, end: 10, layer: 0, region: Some([5_000, 0, 5_000, 10_000]), ..old.clone() };
        assert_eq!(old.patched(&patch), Some(expected));
        assert_eq!(old.patched(&json!({"productId": null})), None);
        let video = Video::of(&json!({"title": "t", "durationMs": 7, "frameRate": 29.97})).unwrap();
        assert_eq!(video.frame_rate, Some(29_970));
        let changed = Video { frame_rate: None, ..video.clone() };
        assert_eq!(video.patched(&json!({"frameRate": null})), Some(changed));
    }
}
