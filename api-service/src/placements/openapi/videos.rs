//! The operations on videos in the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::schemas::video_example;
use super::{
    BODY, CHANGE, COMMAND, COMMITTED, EDITORS, Operation, READ, READERS, VIDEO_NOT_FOUND, body, read, refused, schemas,
    written,
};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::{constant, header, required};
use crate::http::openapi::schemas::schema;
use crate::http::problem::Code;
use crate::placements::answers::{BODY_TYPES, MAX_BODY, PATCH_TYPES};
use crate::placements::codes::INVALID_VIDEO;
use crate::placements::paths::{VIDEO, VIDEOS};

pub(super) fn part() -> Part {
    Part {
        tags: vec![("videos", "What products are placed into")],
        paths: json!({
            VIDEOS: {"get": list(), "post": create()},
            VIDEO: {"get": show(), "patch": change()}
        }),
        schemas: schemas::videos(),
        parameters: json!({
            "VideosAfter": {
                "in": "query", "name": "after",
                "description": "The `next` of the previous page: only videos that were made after that one.",
                "schema": {"type": "string", "format": "uuid"}
            }
        }),
        ..Part::default()
    }
}

fn create() -> Value {
    let codes = [&TOKEN[..], &BODY, &COMMAND, &[INVALID_VIDEO]];
    let pattern = json!({"type": "string", "pattern": "^/videos/[0-9a-f-]{36}$"});
    let headers = vec![("location", required("The path of the video.", pattern)), ("etag", header("ETag"))];
    let good = json!({"201": answers::json("The new video.", "Video", video_example(), written(headers))});
    let examples = json!({
        "film": {"summary": "A minute", "value": {"title": "A film", "durationMs": 60_000, "frameRate": 25}},
        "least": {"summary": "Required members only", "value": {"title": "A film", "durationMs": 60_000}}
    });
    Operation {
        id: "createVideo",
        tag: "videos",
        summary: "Creates a video",
        description: format!(
            "{EDITORS} The body may have up to {MAX_BODY} bytes; optional members may be null. {COMMITTED}"
        ),
        parameters: parameters(["Idempotency-Key", "X-Correlation-Id", "Content-Encoding", "X-Request-Id"]),
    }
    .with(Some(body(&BODY_TYPES, &schema("NewVideo"), &examples)), answers(good, &codes, &refused(&codes)))
}

fn change() -> Value {
    let codes = [&TOKEN[..], &BODY, &COMMAND, &CHANGE, &[INVALID_VIDEO, VIDEO_NOT_FOUND]];
    let headers = written(vec![("etag", header("ETag"))]);
    let good = json!({"200": answers::json("The changed video.", "Video", video_example(), headers)});
    let examples = json!({"shorter": {"value": {"durationMs": 50_000, "frameRate": null}}});
    Operation {
        id: "changeVideo",
        tag: "videos",
        summary: "Changes a video",
        description: format!(
            "{EDITORS} A JSON merge patch (RFC 7396). `If-Match` may name any state since the last change of the video \
             or of its placements: that its files got ready meanwhile does not matter. Placements that end behind a \
             shorter video stay; a validation finds them. {COMMITTED}"
        ),
        parameters: parameters([
            "VideoId",
            "State-If-Match",
            "Idempotency-Key",
            "X-Correlation-Id",
            "Content-Encoding",
            "X-Request-Id",
        ]),
    }
    .with(Some(body(&PATCH_TYPES, &schema("VideoPatch"), &examples)), answers(good, &codes, &refused(&codes)))
}

fn show() -> Value {
    let codes = [&TOKEN[..], &READ, &[VIDEO_NOT_FOUND]];
    let headers = || {
        let own = [
            ("etag", header("ETag")),
            ("cache-status", header("Cache-Status")),
            ("cache-control", constant("private, no-cache")),
        ];
        own.into_iter().chain(rates())
    };
    let good = json!({
        "200": answers::json("The video.", "Video", video_example(), headers()),
        "304": answers::empty("Not modified.", headers())
    });
    let mut more = rated(&codes);
    let schema = json!({"$ref": "#/components/headers/Cache-Status/schema"});
    let source = json!({"description": "How the service found out that there is no such video.", "schema": schema});
    more.push((StatusCode::NOT_FOUND, "cache-status", source));
    Operation {
        id: "showVideo",
        tag: "videos",
        summary: "Shows a video",
        description: format!("{READERS} From the cache: never older than what a command has answered."),
        parameters: parameters(["VideoId", "If-None-Match", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &more))
}

fn list() -> Value {
    let codes = [&TOKEN[..], &READ, &[Code::BAD_REQUEST]];
    let example = json!({"videos": [video_example()], "next": null});
    let good =
        json!({"200": answers::json("A page, in the order in which they were made.", "Videos", example, read())});
    Operation {
        id: "listVideos",
        tag: "videos",
        summary: "Lists videos",
        description: READERS.to_owned(),
        parameters: parameters(["VideosAfter", "PageLimit", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &rated(&codes)))
}
