//! The operations on validations in the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::schemas::{VALIDATION as EXAMPLE, VIDEO, validation_example};
use super::{
    COMMAND, COMMITTED, EDITORS, Operation, READ, READERS, VALIDATION_NOT_FOUND, VIDEO_NOT_FOUND, refused, schemas,
    written,
};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::{constant, header, required};
use crate::placements::paths::{VALIDATION, VALIDATIONS_OF_VIDEO};
use crate::placements::validations::MAX_WAIT;

pub(super) fn part() -> Part {
    Part {
        tags: vec![("validations", "Whether the placements of a video fit together")],
        paths: json!({VALIDATIONS_OF_VIDEO: {"post": request()}, VALIDATION: {"get": show()}}),
        schemas: schemas::validations(),
        headers: json!({
            "Validation-ETag": required(
                "Identifies this state. Opaque: do not parse it.",
                json!({"type": "string", "pattern": "^\"[1-9][0-9]*-[0-9T:.-]+Z(-stale)?\"$"})
            ),
            "Applied-Wait": {
                "description": "With `Prefer: wait`: for how many seconds the request could be held. Without it too many \
                    others were.",
                "schema": {"type": "string", "pattern": "^wait=([1-9]|[12][0-9]|30)$"}
            },
            "Poll-After": {
                "description": "If it is not done: after how many seconds to ask again.",
                "schema": {"type": "integer", "minimum": 1}
            }
        }),
        parameters: json!({
            "Prefer-Wait": {
                "in": "header", "name": "prefer",
                "description": format!(
                    "`wait=20` (RFC 7240) holds the request until the validation is done, for so many seconds at most, \
                     and for no more than {MAX_WAIT}."
                ),
                "schema": {"type": "string"}, "example": "wait=20"
            }
        }),
        ..Part::default()
    }
}

fn request() -> Value {
    let codes = [&TOKEN[..], &COMMAND, &[VIDEO_NOT_FOUND]];
    let pattern = json!({"type": "string", "pattern": "^/validations/[0-9a-f-]{36}$"});
    let headers = written(vec![
        ("location", required("The path of the validation.", pattern)),
        ("retry-after", required("After how many seconds to ask for it.", json!({"type": "integer", "minimum": 1}))),
    ]);
    let example = json!({"id": EXAMPLE, "videoId": VIDEO, "status": "queued", "revision": 2});
    let good = json!({"202": answers::json("It will be done.", "RequestedValidation", example, headers)});
    Operation {
        id: "requestValidation",
        tag: "validations",
        summary: "Asks for a validation of a video",
        description: format!("{EDITORS} The answer is always 202: read its `Location` until it is done. {COMMITTED}"),
        parameters: parameters(["VideoId", "Idempotency-Key", "X-Correlation-Id", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &refused(&codes)))
}

fn show() -> Value {
    let codes = [&TOKEN[..], &READ, &[VALIDATION_NOT_FOUND]];
    let headers = || {
        let own = [
            ("etag", header("Validation-ETag")),
            ("cache-status", header("Cache-Status")),
            ("cache-control", constant("private, no-cache")),
            ("retry-after", header("Poll-After")),
            ("preference-applied", header("Applied-Wait")),
        ];
        own.into_iter().chain(rates())
    };
    let good = json!({
        "200": answers::json("The validation.", "Validation", validation_example(), headers()),
        "304": answers::empty("Not modified.", headers())
    });
    let more: Vec<(StatusCode, &'static str, Value)> = rated(&codes);
    Operation {
        id: "showValidation",
        tag: "validations",
        summary: "Shows a validation, and its report when it is done",
        description: format!(
            "{READERS} The report is of the video at `revision`; `stale` says that the video, or one of its placements, \
             has changed since."
        ),
        parameters: parameters(["ValidationId", "Prefer-Wait", "If-None-Match", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &more))
}
