//! The operations that validate what is not made yet, in the OpenAPI document: for editors, and for other services.

use serde_json::{Value, json};

use super::schemas::{PLACEMENT, VIDEO};
use super::{BODY, EDITORS, Operation, READ, VIDEO_NOT_FOUND, body, read, schemas};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated};
use crate::http::openapi::schemas::{object, schema};
use crate::placements::answers::BODY_TYPES;
use crate::placements::codes::{INVALID_PLACEMENT, INVALID_VALIDATION, VALIDATION_UNAVAILABLE};
use crate::placements::paths::{CHECK, VALIDATE};

pub(super) fn part() -> Part {
    Part { paths: json!({CHECK: {"post": check()}}), schemas: json!({"Check": report()}), ..Part::default() }
}

/// It refers to no other part of this domain: an instance may have no other.
pub(super) fn of_service() -> Part {
    let video = json!({"type": "string", "format": "uuid", "description": "A video, as it is now."});
    let draft = json!({"type": "object", "description": "A new placement, as for `POST /placements`."});
    Part {
        tags: vec![("validation", "The service that validates, for other services")],
        paths: json!({VALIDATE: {"post": validate()}}),
        schemas: json!({
            "ValidationCall": {
                "type": "object", "additionalProperties": false, "properties": {"videoId": video, "draft": draft},
                "oneOf": [{"required": ["videoId"]}, {"required": ["draft"]}]
            },
            "ValidationReport": report()
        }),
        parameters: json!({
            "Expected-Timeout": {
                "in": "header", "name": "x-envoy-expected-rq-timeout-ms",
                "description": "In how many milliseconds the caller expects the answer: it gets 503 then.",
                "schema": {"type": "integer", "minimum": 1}
            }
        }),
        ..Part::default()
    }
}

fn report() -> Value {
    let id = json!({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]});
    let finding = object(
        &["code", "severity", "placementIds", "detail"],
        json!({
            "code": {"type": "string", "examples": ["overlap"]},
            "severity": {"type": "string", "examples": ["error", "warning"]},
            "placementIds": {
                "type": "array", "items": id,
                "description": "The placements that it is about; null is the new one. Empty: the whole video."
            },
            "detail": {"type": "string", "description": "Human-readable; the wording may change."}
        }),
    );
    let revision =
        json!({"type": "integer", "minimum": 1, "description": "The revision of the video that was judged."});
    object(&["findings", "revision"], json!({"findings": {"type": "array", "items": finding}, "revision": revision}))
}

fn example(placements: &Value) -> Value {
    let detail = "both are on layer 0 from 1000 to 1500 ms, and their regions meet";
    json!({
        "findings": [{"code": "overlap", "severity": "error", "placementIds": placements, "detail": detail}],
        "revision": 2
    })
}

fn check() -> Value {
    let codes = [&TOKEN[..], &BODY, &READ, &[INVALID_PLACEMENT, VIDEO_NOT_FOUND, VALIDATION_UNAVAILABLE]];
    let example = example(&json!([null, PLACEMENT]));
    let good = json!({"200": answers::json("What would be found.", "Check", example, read())});
    let examples = json!({"mug": {"value": schemas::new_placement(true)}});
    Operation {
        id: "checkPlacement",
        tag: "placements",
        summary: "Says what a validation would find in a new placement",
        description: format!(
            "{EDITORS} Nothing is written, and no event is published. The findings are those in which the new placement \
             takes part, and `dense`, as if it had been made at `revision`."
        ),
        parameters: parameters(["X-Correlation-Id", "Content-Encoding", "X-Request-Id"]),
    }
    .with(Some(body(&BODY_TYPES, &schema("NewPlacement"), &examples)), answers(good, &codes, &rated(&codes)))
}

fn validate() -> Value {
    let codes = [&TOKEN[..], &BODY, &READ, &[INVALID_VALIDATION, VIDEO_NOT_FOUND]];
    let example = example(&json!([PLACEMENT, "01890a5d-ac96-774b-bcce-b30209900001"]));
    let good = json!({"200": answers::json("The findings.", "ValidationReport", example, read())});
    let examples = json!({
        "video": {"summary": "A video as it is", "value": {"videoId": VIDEO}},
        "draft": {"summary": "A new placement in it", "value": {"draft": schemas::new_placement(true)}}
    });
    Operation {
        id: "validate",
        tag: "validation",
        summary: "Validates a video, or a new placement in it",
        description: format!(
            "For other services. With `INTERNAL_JWT_SECRET` it takes only tokens that are signed with it, of the audience \
             `internal`. Without it: {EDITORS} Nothing is written: `POST /videos/{{id}}/validations` keeps its report. A \
             call may be repeated."
        ),
        parameters: parameters(["Expected-Timeout", "X-Correlation-Id", "Content-Encoding", "X-Request-Id"]),
    }
    .with(Some(body(&BODY_TYPES, &schema("ValidationCall"), &examples)), answers(good, &codes, &rated(&codes)))
}
