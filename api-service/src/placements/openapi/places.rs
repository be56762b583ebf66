//! The operations on placements in the OpenAPI document.

use serde_json::{Value, json};
use shared::placements::values::MAX_MS;
use shared::placements::{MAX_ITEMS, MAX_OF_VIDEO};

use super::schemas::{VIDEO, placement_example, shown_placement_example};
use super::{
    BODY, CHANGE, COMMAND, COMMITTED, EDITORS, Operation, PLACEMENT_NOT_FOUND, READ, READERS, VIDEO_NOT_FOUND, body,
    read, refused, schemas, tagged, written,
};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated};
use crate::http::openapi::headers::{header, required};
use crate::http::openapi::schemas::schema;
use crate::http::problem::Code;
use crate::placements::answers::{BODY_TYPES, PATCH_TYPES};
use crate::placements::codes::{INVALID_PLACEMENT, TOO_MANY_PLACEMENTS};
use crate::placements::paths::{PLACEMENT, PLACEMENTS, PLACEMENTS_OF_VIDEO};
use crate::placements::places::{DEFAULT_LIMIT, MAX_LIMIT, MAX_MANY_BODY};

pub(super) fn part() -> Part {
    let time = |name: &str, description: &str| {
        json!({
            "in": "query", "name": name, "description": description,
            "schema": {"type": "integer", "minimum": 0, "maximum": MAX_MS}
        })
    };
    Part {
        tags: vec![("placements", "Products in videos, over time ranges")],
        paths: json!({
            PLACEMENTS: {"post": create()},
            PLACEMENTS_OF_VIDEO: {"get": list(), "post": create_many()},
            PLACEMENT: {"get": show(), "patch": change(), "delete": delete()}
        }),
        schemas: schemas::placements(),
        parameters: json!({
            "PlacementsFrom": time("from", "Only placements that end after this millisecond."),
            "PlacementsTo": time("to", "Only placements that begin before this millisecond."),
            "PlacementsAfter": {
                "in": "query", "name": "after", "description": "The `next` of the previous page. Opaque.",
                "schema": {
                    "type": "string",
                    "pattern": r"^(0|[1-9][0-9]{0,7})\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
                }
            },
            "PlacementsLimit": {
                "in": "query", "name": "limit", "description": "The most placements of the page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
            }
        }),
        ..Part::default()
    }
}

/// What a new placement is checked for.
const CHECKED: &str = "Whether it fits the video, other placements, its product and its campaign is asked by a validation: \
    a draft may be wrong.";

fn create() -> Value {
    let codes = [&TOKEN[..], &BODY, &COMMAND, &[INVALID_PLACEMENT, VIDEO_NOT_FOUND, TOO_MANY_PLACEMENTS]];
    let pattern = json!({"type": "string", "pattern": "^/placements/[0-9a-f-]{36}$"});
    let headers = vec![("location", required("The path of the placement.", pattern)), ("etag", header("Version-ETag"))];
    let good = json!({"201": answers::json("The new placement.", "Placement", placement_example(), written(headers))});
    let examples = json!({
        "mug": {"summary": "A product for two seconds", "value": schemas::new_placement(true)},
        "least": {
            "summary": "Required members only",
            "value": {"videoId": VIDEO, "productId": "mug", "startMs": 0, "endMs": 1_000}
        }
    });
    Operation {
        id: "createPlacement",
        tag: "placements",
        summary: "Places a product into a video",
        description: format!(
            "{EDITORS} Optional members may be null. {CHECKED} A video may have up to {MAX_OF_VIDEO} placements. \
             {COMMITTED} The video's files are generated after that: `files` says how far they are."
        ),
        parameters: parameters(["Idempotency-Key", "X-Correlation-Id", "Content-Encoding", "X-Request-Id"]),
    }
    .with(Some(body(&BODY_TYPES, &schema("NewPlacement"), &examples)), answers(good, &codes, &refused(&codes)))
}

fn create_many() -> Value {
    let own = [INVALID_PLACEMENT, VIDEO_NOT_FOUND, TOO_MANY_PLACEMENTS, Code::TOO_MANY_IDS];
    let codes = [&TOKEN[..], &BODY, &COMMAND, &own];
    let pattern = json!({"type": "string", "pattern": "^/videos/[0-9a-f-]{36}/placements$"});
    let headers = written(vec![("location", required("The path of the video's placements.", pattern))]);
    let example = json!({
        "placements": [shown_placement_example()], "revision": 2,
        "files": {"state": "processing", "revision": 2, "readyRevision": 1}
    });
    let good = json!({
        "201": answers::json("The new placements, in their order.", "CreatedPlacements", example, headers)
    });
    let examples = json!({"one": {"value": [schemas::new_placement(false)]}});
    Operation {
        id: "createPlacements",
        tag: "placements",
        summary: "Places products into a video, all or none",
        description: format!(
            "{EDITORS} An array of 1 to {MAX_ITEMS} placements, which need not name the video, in up to {MAX_MANY_BODY} \
             bytes. The pointers of faults begin with the index of a placement. Each placement counts once in the rate \
             limit. {CHECKED} {COMMITTED}"
        ),
        parameters: parameters(["VideoId", "Idempotency-Key", "X-Correlation-Id", "Content-Encoding", "X-Request-Id"]),
    }
    .with(Some(body(&BODY_TYPES, &schema("NewPlacements"), &examples)), answers(good, &codes, &refused(&codes)))
}

fn change() -> Value {
    let codes = [&TOKEN[..], &BODY, &COMMAND, &CHANGE, &[INVALID_PLACEMENT, PLACEMENT_NOT_FOUND]];
    let headers = written(vec![("etag", header("Version-ETag"))]);
    let good = json!({"200": answers::json("The changed placement.", "Placement", placement_example(), headers)});
    let examples = json!({
        "later": {"value": {"startMs": 1_500, "endMs": 3_500, "region": {"x": 0.5}, "campaignId": null}}
    });
    Operation {
        id: "changePlacement",
        tag: "placements",
        summary: "Changes a placement",
        description: format!(
            "{EDITORS} A JSON merge patch (RFC 7396): null removes a member. A change without a difference makes no new \
             version, and no event. {COMMITTED}"
        ),
        parameters: parameters([
            "PlacementId",
            "State-If-Match",
            "Idempotency-Key",
            "X-Correlation-Id",
            "Content-Encoding",
            "X-Request-Id",
        ]),
    }
    .with(Some(body(&PATCH_TYPES, &schema("PlacementPatch"), &examples)), answers(good, &codes, &refused(&codes)))
}

fn delete() -> Value {
    let codes = [&TOKEN[..], &COMMAND, &CHANGE, &[PLACEMENT_NOT_FOUND]];
    let good = json!({"204": answers::empty("It is deleted.", written(Vec::new()))});
    Operation {
        id: "deletePlacement",
        tag: "placements",
        summary: "Deletes a placement",
        description: format!("{EDITORS} {COMMITTED}"),
        parameters: parameters([
            "PlacementId",
            "State-If-Match",
            "Idempotency-Key",
            "X-Correlation-Id",
            "X-Request-Id",
        ]),
    }
    .with(None, answers(good, &codes, &refused(&codes)))
}

fn show() -> Value {
    let codes = [&TOKEN[..], &READ, &[PLACEMENT_NOT_FOUND]];
    let good = json!({
        "200": answers::json("The placement.", "Placement", shown_placement_example(), tagged()),
        "304": answers::empty("Not modified.", tagged())
    });
    Operation {
        id: "showPlacement",
        tag: "placements",
        summary: "Shows a placement",
        description: READERS.to_owned(),
        parameters: parameters(["PlacementId", "If-None-Match", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &rated(&codes)))
}

fn list() -> Value {
    let codes = [&TOKEN[..], &READ, &[Code::BAD_REQUEST, VIDEO_NOT_FOUND]];
    let example = json!({"placements": [shown_placement_example()], "revision": 2, "next": null});
    let own = [("content-encoding", header("Content-Encoding")), ("cache-status", header("Cache-Status"))];
    let headers = read().into_iter().chain(own);
    let good = json!({"200": answers::json("A page, by the start, then by id.", "Placements", example, headers)});
    Operation {
        id: "listPlacements",
        tag: "placements",
        summary: "Lists the placements of a video",
        description: format!(
            "{READERS} With `from` and `to`, those whose range meets that time; ranges are half-open. `revision` is that \
             of the video when the page was read. Pages are not cached: they come from PostgreSQL, and may be ahead of \
             the cache."
        ),
        parameters: parameters([
            "VideoId",
            "PlacementsFrom",
            "PlacementsTo",
            "PlacementsAfter",
            "PlacementsLimit",
            "X-Request-Id",
        ]),
    }
    .with(None, answers(good, &codes, &rated(&codes)))
}
