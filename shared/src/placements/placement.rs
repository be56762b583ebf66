//! Placements: a product in a video, over a time range.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::area::{Range, Region};
use super::values::{MAX_LAYER, MAX_MS, MAX_NAME, campaign, number, words};
use super::{PlacementId, ProductId, VideoId};
use crate::runtime::json::items::{BatchError, array};
use crate::runtime::json::members::{Members, parsed};
use crate::runtime::json::{BodyError, Fault, Faults, at, json};

/// The most placements of a call.
pub const MAX_ITEMS: usize = 1_000;
/// The most placements of a video.
pub const MAX_OF_VIDEO: i32 = 10_000;

/// What an editor says of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPlacement {
    /// The video.
    pub video: VideoId,
    /// The product.
    pub product: ProductId,
    /// The campaign that pays for it.
    pub campaign: Option<i64>,
    /// When it shows.
    pub range: Range,
    /// Its layer: products in one layer should not overlap.
    pub layer: u16,
    /// Where it shows; `None`: in the whole picture.
    pub region: Option<Region>,
    /// A text for people.
    pub label: Option<String>,
}

/// A placement of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its id.
    pub id: PlacementId,
    /// The video.
    pub video: VideoId,
    /// The product.
    pub product: ProductId,
    /// The campaign that pays for it.
    pub campaign: Option<i64>,
    /// When it shows.
    pub range: Range,
    /// Its layer.
    pub layer: u16,
    /// Where it shows; `None`: in the whole picture.
    pub region: Option<Region>,
    /// A text for people.
    pub label: Option<String>,
    /// The number of its last change.
    pub version: i64,
}

impl Placed {
    /// A placement as it is made.
    pub fn of(new: NewPlacement, id: PlacementId, version: i64) -> Self {
        let NewPlacement { video, product, campaign, range, layer, region, label } = new;
        Self { id, video, product, campaign, range, layer, region, label, version }
    }
}

/// The names of its members, as they are sent.
pub(super) const MEMBERS: [&str; 8] =
    ["videoId", "productId", "campaignId", "startMs", "endMs", "layer", "region", "label"];
/// The members that only the services set.
const READ_ONLY: [&str; 5] = ["id", "version", "createdAt", "updatedAt", "files"];

/// The fault of a member that [`MEMBERS`] does not have.
pub(super) fn other(name: &str) -> Option<String> {
    let detail = if READ_ONLY.contains(&name) { "is read-only" } else { "is not a field of a placement" };
    Some(detail.to_owned())
}

impl NewPlacement {
    /// Parses the body that creates a placement. The error lists every fault. An optional member that is null counts as
    /// absent.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        Self::parse_value(json(body)?, None)
    }

    /// Parses an array of 1 to [`MAX_ITEMS`] new placements of a video, which need not name it. The error lists the
    /// faults of all of them; each pointer begins with an index.
    pub fn parse_many(body: &Bytes, video: VideoId) -> Result<Vec<Self>, BodyError> {
        let whole = |detail: String| BodyError::NotAnEvent(vec![Fault { pointer: String::new(), detail }]);
        let items = array(body, MAX_ITEMS).map_err(|error| match error {
            BatchError::NotJson(why) => BodyError::NotJson(why),
            BatchError::NotAnArray => whole("must be an array of placements".to_owned()),
            BatchError::TooMany(most) => whole(format!("must have at most {most} placements")),
        })?;
        if items.is_empty() {
            return Err(whole("must have at least one placement".to_owned()));
        }
        let (mut all, mut faults) = (Vec::with_capacity(items.len()), Faults::default());
        for (index, item) in items.into_iter().enumerate() {
            match Self::parse_value(item, Some(video)) {
                Ok(new) => all.push(new),
                Err(BodyError::NotAnEvent(found)) => {
                    for Fault { pointer, detail } in found {
                        faults.add(|| at(&format!("/{index}{pointer}")), detail);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if faults.is_empty() { Ok(all) } else { Err(BodyError::NotAnEvent(faults.list(""))) }
    }

    /// Parses a new placement. With `of`, its video is that one.
    pub fn parse_value(value: &RawValue, of: Option<VideoId>) -> Result<Self, BodyError> {
        let mut members = Members::of(value, "", &MEMBERS, other)?;
        let video = match of {
            None => members.required("videoId", parsed),
            Some(of) => {
                let named = members.optional("videoId", parsed::<VideoId>);
                if named.is_some_and(|named| named != of) {
                    members.fault("videoId", "is not the video in the path");
                }
                Some(of)
            }
        };
        let product = members.required("productId", parsed);
        let campaign = members.optional("campaignId", campaign);
        let start = members.required("startMs", |raw| number(raw, 0, MAX_MS - 1));
        let end = members.required("endMs", |raw| number(raw, 1, MAX_MS));
        let range = start.zip(end).and_then(|(start, end)| range(&mut members, start, end));
        let layer = members.optional("layer", |raw| number(raw, 0, MAX_LAYER)).unwrap_or_default();
        let region = members.given("region").map(Region::parse);
        let region = region.and_then(|region| region.map_err(|faults| members.faults_below("region", faults)).ok());
        let label = members.optional("label", |raw| words(raw, MAX_NAME));
        match (video, product, range) {
            (Some(video), Some(product), Some(range)) if members.are_sound() => {
                Ok(Self { video, product, campaign, range, layer, region, label })
            }
            _ => Err(BodyError::NotAnEvent(members.into_faults())),
        }
    }
}

/// The range of these times, or a fault.
fn range(members: &mut Members<'_>, start: u32, end: u32) -> Option<Range> {
    Range::new(start, end).map_err(|error| members.fault("endMs", error.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn body(json: serde_json::Value) -> Bytes {
        json.to_string().into()
    }

    fn told(error: BodyError) -> Vec<String> {
        match error {
            BodyError::NotAnEvent(faults) => {
                faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
            }
            BodyError::NotJson(why) => vec![format!("not JSON: {why}")],
        }
    }

    #[test]
    fn a_placement_with_and_without_its_optional_members() {
        let least = serde_json::json!({"videoId": VIDEO, "productId": "mug", "startMs": 0, "endMs": 1});
        let new = NewPlacement::parse(&body(least.clone())).unwrap();
        let expected = NewPlacement {
            video: VIDEO.parse().unwrap(),
            product: "mug".parse().unwrap(),
            campaign: None,
            range: Range::new(0, 1).unwrap(),
            layer: 0,
            region: None,
            label: None,
        };
        assert_eq!(new, expected);
        let mut nulls = least.clone();
        for name in ["campaignId", "layer", "region", "label"] {
            nulls[name] = serde_json::Value::Null;
        }
        assert_eq!(NewPlacement::parse(&body(nulls)).unwrap(), expected, "null counts as absent");
        let mut most = least;
        let region = serde_json::json!({"x": 0, "y": 0.5, "width": 1, "height": 0.5});
        let own = [("campaignId", 7.into()), ("layer", 3.into()), ("region", region), ("label", "cup".into())];
        for (name, value) in own {
            most[name] = value;
        }
        let new = NewPlacement::parse(&body(most)).unwrap();
        assert_eq!((new.campaign, new.layer, new.label.as_deref()), (Some(7), 3, Some("cup")));
        assert_eq!(new.region.unwrap().y().get(), 5_000);
        let placed = Placed::of(new.clone(), PlacementId::generate(), 9);
        assert_eq!((placed.range, placed.version, placed.label), (new.range, 9, new.label));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let bad = serde_json::json!({
            "videoId": "x", "productId": "a b", "campaignId": 0, "startMs": -1, "endMs": 86_400_001, "layer": 1_001,
            "region": {"x": 2}, "label": "", "version": 7, "color": "red"
        });
        let mut found = told(NewPlacement::parse(&body(bad)).unwrap_err());
        found.sort_unstable();
        let expected = [
            "/campaignId must be a whole number from 1 to 9007199254740991",
            "/color is not a field of a placement",
            "/endMs must be a whole number from 1 to 86400000",
            "/label must be 1 to 200 characters long",
            "/layer must be a whole number from 0 to 1000",
            "/productId may contain only A-Z a-z 0-9 . _ : -",
            "/region/x must be a number from 0 to 1",
            "/startMs must be a whole number from 0 to 86399999",
            "/version is read-only",
            "/videoId must be a UUID, such as 01890a5d-ac96-774b-bcce-b302099a8057",
        ];
        assert_eq!(found, expected);
        let none = told(NewPlacement::parse(&Bytes::from_static(b"{}")).unwrap_err());
        assert_eq!(
            none,
            ["/videoId is required", "/productId is required", "/startMs is required", "/endMs is required"]
        );
        let empty = serde_json::json!({"videoId": VIDEO, "productId": "mug", "startMs": 7, "endMs": 7});
        assert_eq!(told(NewPlacement::parse(&body(empty)).unwrap_err()), ["/endMs must be greater than startMs"]);
    }

    #[test]
    fn many_at_once_are_of_one_video() {
        let video: VideoId = VIDEO.parse().unwrap();
        let many = |json: serde_json::Value| NewPlacement::parse_many(&body(json), video).map_err(told);
        let good = serde_json::json!([
            {"productId": "mug", "startMs": 0, "endMs": 1},
            {"videoId": VIDEO, "productId": "cup", "startMs": 1, "endMs": 2}
        ]);
        let new = many(good).unwrap();
        assert!(new.iter().all(|new| new.video == video) && new.len() == 2);
        let other = VideoId::generate().to_string();
        let bad = serde_json::json!([
            {"productId": "mug", "startMs": 0, "endMs": 1},
            {"videoId": other, "productId": "cup", "startMs": 2, "endMs": 2},
            7
        ]);
        let faults = [
            "/1/videoId is not the video in the path",
            "/1/endMs must be greater than startMs",
            "/2 must be a JSON object",
        ];
        assert_eq!(many(bad).unwrap_err(), faults);
        assert_eq!(many(serde_json::json!([])).unwrap_err(), [" must have at least one placement"]);
        assert_eq!(many(serde_json::json!({})).unwrap_err(), [" must be an array of placements"]);
        let most = |count| many(serde_json::json!(vec![serde_json::json!({}); count])).unwrap_err();
        assert_eq!(most(MAX_ITEMS + 1), [" must have at most 1000 placements"]);
        assert_eq!(most(MAX_ITEMS).last().unwrap(), " has 2980 more faults");
        assert!(NewPlacement::parse_many(&Bytes::from_static(b"["), video).is_err_and(|e| told(e)[0].contains("JSON")));
    }
}
