//! The schemas of videos, placements, products and validations.

use serde_json::{Map, Value, json};
use shared::placements::values::{MAX_CAMPAIGN, MAX_LAYER, MAX_MS, MAX_NAME, MAX_TITLE};
use shared::placements::{MAX_ITEMS, ProductId};

use crate::http::openapi::schemas::{ID, object, schema};

/// The ids in the examples.
pub(super) const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
pub(super) const PLACEMENT: &str = "01890a5d-ac96-774b-bcce-b302099a8058";
pub(super) const VALIDATION: &str = "01890a5d-ac96-774b-bcce-b302099a8059";

const AT: &str = "2026-01-02T03:04:05.678901Z";
/// A text without control characters.
const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// The id of a product that no path could have.
const DOTS: &str = r"^\.{1,2}$";

pub(super) fn product_id() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": ProductId::MAX, "pattern": ID, "not": {"pattern": DOTS},
        "examples": ["mug"]
    })
}

fn words(most: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": PRINTABLE})
}

fn uuid(description: &str) -> Value {
    json!({"type": "string", "format": "uuid", "description": description})
}

fn number(description: &str) -> Value {
    json!({"type": "integer", "minimum": 1, "description": description})
}

fn or_null(of: &Value) -> Value {
    json!({"anyOf": [of, {"type": "null"}]})
}

fn milliseconds(least: u32, most: u32, description: &str) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most, "description": description})
}

/// These members, of which those that are not `kept` may be null.
fn nullable(all: &Map<String, Value>, kept: &[&str]) -> Map<String, Value> {
    let one = |(name, of): (&String, &Value)| {
        let of = if kept.contains(&name.as_str()) { of.clone() } else { or_null(of) };
        (name.clone(), of)
    };
    all.iter().map(one).collect()
}

fn members(all: Value) -> Map<String, Value> {
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

fn page(name: &str, of: &str, next: Value) -> Value {
    object(&[name, "next"], json!({name: {"type": "array", "items": schema(of)}, "next": next}))
}

fn next(of: &Value) -> Value {
    json!({"anyOf": [of, {"type": "null"}], "description": "The value of `after` for the next page; null on the last page."})
}

fn times() -> [(String, Value); 2] {
    ["createdAt", "updatedAt"].map(|name| (name.to_owned(), schema("Time")))
}

pub(super) fn videos() -> Value {
    let sent = members(json!({
        "title": words(MAX_TITLE),
        "durationMs": milliseconds(1, MAX_MS, "Its length in milliseconds, up to 24 hours."),
        "frameRate": {
            "type": "number", "minimum": 0.001, "maximum": 1_000,
            "description": "Frames a second, if it is known. Rounded to thousandths."
        }
    }));
    let kept = ["title", "durationMs"];
    let mut shown = nullable(&sent, &kept);
    shown.extend(members(json!({
        "id": uuid("Its id."),
        "version": number("Grows with every change of anything here."),
        "revision": number("Grows with every change of the video or of its placements."),
        "readyRevision": {"type": "integer", "minimum": 0, "description": "The revision whose files are ready; 0: none."},
        "placements": {"type": "integer", "minimum": 0, "description": "How many placements it has."},
        "files": schema("Files")
    })));
    shown.extend(times());
    let required: Vec<&str> = shown.keys().map(String::as_str).collect();
    json!({
        "Video": object(&required, Value::Object(shown.clone())),
        "NewVideo": object(&kept, Value::Object(nullable(&sent, &kept))),
        "VideoPatch": object(&[], Value::Object(nullable(&sent, &kept))),
        "Videos": page("videos", "Video", next(&uuid("The id of a video."))),
        "Files": object(&["state", "revision", "readyRevision"], json!({
            "state": {
                "enum": ["processing", "ready"],
                "description": "Whether the video's files are those of its present revision."
            },
            "revision": number("The video's revision."),
            "readyRevision": {"type": "integer", "minimum": 0}
        }))
    })
}

fn region() -> Value {
    let edge = |least: f64| json!({"type": "number", "minimum": least, "maximum": 1});
    json!({"x": edge(0.0), "y": edge(0.0), "width": edge(0.0001), "height": edge(0.0001)})
}

pub(super) fn placements() -> Value {
    let video = uuid("Its video.");
    let mut sent = members(json!({
        "productId": product_id(),
        "campaignId": {
            "type": "integer", "minimum": 1, "maximum": MAX_CAMPAIGN, "description": "The campaign that pays for it."
        },
        "startMs": milliseconds(0, MAX_MS - 1, "Its first millisecond."),
        "endMs": milliseconds(1, MAX_MS, "The first millisecond behind it: greater than `startMs`."),
        "layer": {
            "type": "integer", "minimum": 0, "maximum": MAX_LAYER,
            "description": "Placements of different layers may overlap. Default: 0."
        },
        "region": schema("Region"),
        "label": words(MAX_NAME)
    }));
    let kept = ["productId", "startMs", "endMs"];
    let mut patch = nullable(&sent, &kept);
    patch.insert("region".to_owned(), or_null(&schema("RegionPatch")));
    let mut item = nullable(&sent, &kept);
    item.insert("videoId".to_owned(), or_null(&uuid("The video in the path.")));
    sent.insert("videoId".to_owned(), video);
    let all_kept = ["productId", "startMs", "endMs", "videoId"];
    // A placement always has a layer.
    let mut shown = nullable(&sent, &["productId", "startMs", "endMs", "videoId", "layer"]);
    shown.extend(members(json!({"id": uuid("Its id."), "version": number("Grows with every change of it.")})));
    shown.extend(times());
    let required: Vec<String> = shown.keys().cloned().collect();
    let required: Vec<&str> = required.iter().map(String::as_str).collect();
    let files = json!({"$ref": "#/components/schemas/Files", "description": "In the answer to a command."});
    shown.insert("files".to_owned(), files);
    let place = json!({"type": "string", "pattern": r"^[0-9]+\.[0-9a-f-]{36}$"});
    let revision = number("The video's revision.");
    json!({
        "Placement": object(&required, Value::Object(shown.clone())),
        "NewPlacement": object(&all_kept, Value::Object(nullable(&sent, &all_kept))),
        "NewPlacements": {
            "type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": object(&kept, Value::Object(item))
        },
        "PlacementPatch": object(&[], Value::Object(patch)),
        "Region": {
            "type": "object", "required": ["x", "y", "width", "height"], "additionalProperties": false,
            "properties": region(),
            "description": "A part of the picture, in fractions of its width and height, rounded to four decimals. It lies \
                within the picture: `x` and `width` together, and `y` and `height` together, are at most 1. Default: the \
                whole picture."
        },
        "RegionPatch": object(&[], region()),
        "Placements": object(&["placements", "revision", "next"], json!({
            "placements": {"type": "array", "items": schema("Placement")}, "revision": revision.clone(),
            "next": next(&place)
        })),
        "CreatedPlacements": object(&["placements", "revision", "files"], json!({
            "placements": {"type": "array", "items": schema("Placement")}, "revision": revision,
            "files": schema("Files")
        }))
    })
}

pub(super) fn products() -> Value {
    let sent = members(json!({
        "name": words(MAX_NAME),
        "active": {"type": "boolean", "description": "Whether it may be placed."}
    }));
    let mut shown = sent.clone();
    shown.extend(members(json!({"id": product_id(), "version": number("Grows with every change of it.")})));
    shown.extend(times());
    let required: Vec<&str> = shown.keys().map(String::as_str).collect();
    json!({
        "Product": object(&required, Value::Object(shown.clone())),
        "NewProduct": object(&["name", "active"], Value::Object(sent)),
        "Products": page("products", "Product", next(&product_id()))
    })
}

pub(super) fn validations() -> Value {
    let status = json!({"enum": ["queued", "running", "succeeded", "failed"]});
    let count = |description: &str| json!({"type": "integer", "minimum": 0, "description": description});
    let mut required = vec!["version", "id", "videoId", "status", "revision", "stale"];
    required.extend(["requestedAt", "finishedAt", "updatedAt"]);
    json!({
        "RequestedValidation": object(&["id", "videoId", "status", "revision"], json!({
            "id": uuid("Its id."), "videoId": uuid("The video."), "status": {"const": "queued"},
            "revision": number("The video's revision.")
        })),
        "Validation": object(&required, json!({
            "version": number("Grows with every change of it."),
            "id": uuid("Its id."),
            "videoId": uuid("The video."),
            "status": status,
            "revision": number("The revision that was validated; until then the one at which it was asked for."),
            "stale": {"type": "boolean", "description": "Whether it is done, and the video has changed since."},
            "errors": count("With a report: how many findings are errors."),
            "warnings": count("With a report: how many findings are warnings."),
            "findings": {"type": "array", "items": schema("Finding"), "description": "The report, when it is done."},
            "error": {"type": "string", "description": "If it failed: why."},
            "requestedAt": schema("Time"),
            "finishedAt": or_null(&schema("Time")),
            "updatedAt": schema("Time")
        })),
        "Finding": object(&["code", "severity", "placementIds", "detail"], json!({
            "code": {"type": "string", "examples": ["overlap"]},
            "severity": {"enum": ["error", "warning"]},
            "placementIds": {
                "type": "array", "items": uuid("A placement that it is about."),
                "description": "Empty: it is about the whole video."
            },
            "detail": {"type": "string", "description": "Human-readable; the wording may change."}
        }))
    })
}

pub(super) fn video_example() -> Value {
    json!({
        "version": 2, "revision": 2, "readyRevision": 1, "id": VIDEO, "title": "A film", "durationMs": 60_000,
        "frameRate": 25, "placements": 1, "files": {"state": "processing", "revision": 2, "readyRevision": 1},
        "createdAt": AT, "updatedAt": AT
    })
}

/// A placement as it is sent; many at once need not name the video.
pub(super) fn new_placement(names_video: bool) -> Value {
    let new = json!({
        "productId": "mug", "campaignId": 1, "startMs": 1_000, "endMs": 3_000, "layer": 0,
        "region": {"x": 0.1, "y": 0.6, "width": 0.2, "height": 0.25}, "label": "on the table"
    });
    let video = if names_video { members(json!({"videoId": VIDEO})) } else { Map::new() };
    Value::Object(video.into_iter().chain(members(new)).collect())
}

pub(super) fn shown_placement_example() -> Value {
    let mut shown = members(new_placement(true));
    shown.extend(members(json!({"id": PLACEMENT, "version": 2, "createdAt": AT, "updatedAt": AT})));
    Value::Object(shown)
}

pub(super) fn placement_example() -> Value {
    let mut shown = members(shown_placement_example());
    shown.extend(members(json!({"files": {"state": "processing", "revision": 2, "readyRevision": 1}})));
    Value::Object(shown)
}

pub(super) fn product_example() -> Value {
    json!({"id": "mug", "name": "A mug", "active": true, "version": 1, "createdAt": AT, "updatedAt": AT})
}

pub(super) fn validation_example() -> Value {
    let finding = json!({
        "code": "out_of_bounds", "severity": "error", "placementIds": [PLACEMENT],
        "detail": "ends at 61000 ms, and the video at 60000 ms"
    });
    json!({
        "version": 7, "id": VALIDATION, "videoId": VIDEO, "status": "succeeded", "revision": 2, "stale": false,
        "errors": 1, "warnings": 0, "findings": [finding], "requestedAt": AT, "finishedAt": AT, "updatedAt": AT
    })
}
