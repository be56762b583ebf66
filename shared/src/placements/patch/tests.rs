use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::placements::{PlacementId, VideoId};

fn body(json: &Value) -> Bytes {
    json.to_string().into()
}

fn told(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
}

fn refused(patch: &Value) -> Vec<String> {
    match PlacementPatch::parse(&body(patch)) {
        Err(BodyError::NotAnEvent(faults)) => told(&faults),
        other => panic!("{other:?}"),
    }
}

/// The members of a placement, as they are sent.
fn sent(placed: &Placed) -> Value {
    json!({
        "videoId": placed.video, "productId": placed.product.as_str(), "campaignId": placed.campaign,
        "startMs": placed.range.start(), "endMs": placed.range.end(), "layer": placed.layer,
        "region": placed.region, "label": placed.label
    })
}

fn placed(new: &Value) -> Result<Placed, BodyError> {
    NewPlacement::parse(&body(new)).map(|new| Placed::of(new, PlacementId::from(uuid::Uuid::nil()), 7))
}

fn old() -> Placed {
    let video = VideoId::from(uuid::Uuid::nil());
    let region = json!({"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4});
    placed(&json!({
        "videoId": video, "productId": "mug", "campaignId": 7, "startMs": 100, "endMs": 200, "layer": 3,
        "region": region, "label": "cup"
    }))
    .unwrap()
}

#[test]
fn a_patch_changes_what_it_names() {
    let changed = |patch: Value| PlacementPatch::parse(&body(&patch)).unwrap().apply(&old());
    assert_eq!(changed(json!({})), Ok(old()));
    let all = json!({"campaignId": null, "layer": null, "region": null, "label": null});
    let bare = changed(all).unwrap();
    assert_eq!((bare.campaign, bare.layer, bare.region, bare.label), (None, 0, None, None));
    // A region is an object, whose members a merge patch changes one by one.
    let moved = changed(json!({"region": {"x": 0.5}})).unwrap();
    assert_eq!(sent(&moved)["region"], json!({"x": 0.5, "y": 0.2, "width": 0.3, "height": 0.4}));
    let later = changed(json!({"startMs": 150, "endMs": 160})).unwrap();
    assert_eq!((later.range, later.version), (Range::new(150, 160).unwrap(), 7));

    let faults = |patch: Value| told(&changed(patch).unwrap_err());
    assert_eq!(faults(json!({"startMs": 200})), ["/startMs must be less than endMs"]);
    assert_eq!(faults(json!({"endMs": 100})), ["/endMs must be greater than startMs"]);
    let beyond = "/region/width must be at most 1 together with x: the region lies within the picture";
    assert_eq!(faults(json!({"region": {"x": 0.9}, "endMs": 1})), ["/endMs must be greater than startMs", beyond]);
    let mut whole = old();
    whole.region = None;
    let missing = PlacementPatch::parse(&body(&json!({"region": {"x": 0.5}}))).unwrap().apply(&whole).unwrap_err();
    assert_eq!(told(&missing), ["/region/y is required", "/region/width is required", "/region/height is required"]);
}

#[test]
fn what_a_patch_cannot_say() {
    let video = VideoId::generate();
    let fixed = "/videoId cannot be changed: delete the placement, and create another one";
    for (patch, faults) in [
        (json!({"videoId": video}), &[fixed][..]),
        (json!({"productId": null, "startMs": null}), &["/productId cannot be removed", "/startMs cannot be removed"]),
        (json!({"id": "x", "n": 1}), &["/id is read-only", "/n is not a field of a placement"]),
        (
            json!({"layer": 1.5, "region": {"x": null}}),
            &["/layer must be a whole number from 0 to 1000", "/region/x cannot be removed"],
        ),
        (json!([]), &[" must be a JSON object"]),
    ] {
        assert_eq!(refused(&patch), faults, "{patch}");
    }
}

#[test]
fn a_video_can_be_changed() {
    let old = NewVideo { title: "film".into(), duration_ms: 1_000, frame_rate: Some(25_000) };
    let changed = |patch: Value| VideoPatch::parse(&body(&patch)).unwrap().apply(&old);
    assert_eq!(changed(json!({})), old);
    let new = NewVideo { title: "new".into(), duration_ms: 1, frame_rate: None };
    assert_eq!(changed(json!({"title": "new", "durationMs": 1, "frameRate": null})), new);
    let bad = json!({"title": null, "durationMs": 0, "frameRate": "x", "revision": 7});
    let Err(BodyError::NotAnEvent(faults)) = VideoPatch::parse(&body(&bad)) else { panic!("it was taken") };
    assert_eq!(
        told(&faults),
        [
            "/revision is read-only",
            "/title cannot be removed",
            "/durationMs must be a whole number from 1 to 86400000",
            "/frameRate must be a number from 0.001 to 1000",
        ]
    );
}

/// RFC 7396, section 2.
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = target.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let changed = merged(target.get(name).unwrap_or(&Value::Null), value);
            target.insert(name.clone(), changed);
        }
    }
    Value::Object(target)
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

fn region() -> impl Strategy<Value = Value> {
    let edge = || prop::option::of(0..=100_u8);
    (edge(), edge(), edge(), edge()).prop_map(|(x, y, width, height)| {
        let part = |value: Option<u8>| value.map(|value| json!(f64::from(value) / 100.0));
        let all = [("x", part(x)), ("y", part(y)), ("width", part(width)), ("height", part(height))];
        Value::Object(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    })
}

/// Members of a patch: absent, null, or a value.
fn patches() -> impl Strategy<Value = Value> {
    let or_null = |value: BoxedStrategy<Value>| prop::option::of(prop_oneof![Just(Value::Null), value]);
    let number = |most: u32| or_null((0..most).prop_map(Value::from).boxed());
    let text = || or_null("[a-z]{0,2}".prop_map(Value::from).boxed());
    (text(), number(9), number(300), number(300), number(1_002), or_null(region().boxed()), text()).prop_map(
        |(product, campaign, start, end, layer, region, label)| {
            let all = [
                ("productId", product),
                ("campaignId", campaign),
                ("startMs", start),
                ("endMs", end),
                ("layer", layer),
                ("region", region),
                ("label", label),
            ];
            let given = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(given.collect::<Map<_, _>>())
        },
    )
}

proptest! {
    /// A patch is taken if and only if the merged document is a good placement, and the result is that placement.
    #[test]
    fn a_patch_is_the_merged_document(patch in patches(), has_region in any::<bool>()) {
        let mut old = old();
        if !has_region {
            old.region = None;
        }
        let expected = placed(&merged(&without_nulls(sent(&old)), &patch));
        let patched = PlacementPatch::parse(&body(&patch)).map_err(|_| ()).and_then(|p| p.apply(&old).map_err(|_| ()));
        // Null within a region removes a member that it needs.
        prop_assert_eq!(patched.ok(), expected.ok(), "{}", patch);
    }
}
