//! The operations on the files of videos in the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::placements::files::FileKind;

use super::schemas::{PLACEMENT, VIDEO};
use super::{Operation, READ, READERS, VIDEO_NOT_FOUND};
use crate::http::compression::Coding;
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::{constant, header, required};
use crate::http::openapi::schemas::{object, schema};
use crate::placements::codes::{FILE_NOT_READY, FILES_UNAVAILABLE};
use crate::placements::paths::{JSON_OF_VIDEO, VTT_OF_VIDEO};

pub(super) fn part() -> Part {
    let codings = Coding::ALL.map(Coding::name);
    Part {
        tags: vec![("files", "What players read of a video")],
        paths: json!({
            JSON_OF_VIDEO: {"get": show(FileKind::Json)},
            VTT_OF_VIDEO: {"get": show(FileKind::Vtt)}
        }),
        schemas: schemas(),
        headers: json!({
            "File-ETag": required(
                "The SHA-256 of the file; compressed, with the name of the coding.",
                json!({"type": "string", "pattern": format!("^\"[0-9a-f]{{64}}(-({}))?\"$", codings.join("|"))})
            ),
            "X-Revision": required(
                "The revision of the video that the file shows. It never falls.",
                json!({"type": "integer", "minimum": 1})
            ),
            "First-Retry-After": {
                "description": "With `file_not_ready`: after how many seconds to try again.",
                "schema": {"type": "integer", "minimum": 1}
            }
        }),
        ..Part::default()
    }
}

fn show(kind: FileKind) -> Value {
    let codes = [&TOKEN[..], &READ, &[VIDEO_NOT_FOUND, FILE_NOT_READY, FILES_UNAVAILABLE]];
    let headers = || {
        let own = [
            ("etag", header("File-ETag")),
            ("x-revision", header("X-Revision")),
            ("cache-control", constant("private, no-cache")),
        ];
        own.into_iter().chain(rates())
    };
    // Only an answer with a body can be compressed.
    let compressed = [("content-encoding", header("Content-Encoding"))];
    let (id, what, content) = match kind {
        FileKind::Json => (
            "showPlacementsFile",
            "as JSON",
            json!({"application/json": {"schema": schema("PlacementsFile"), "example": example()}}),
        ),
        FileKind::Vtt => (
            "showPlacementsTrack",
            "as a track of WebVTT",
            json!({"text/vtt": {"schema": {
                "type": "string",
                "description": "WebVTT: a cue of metadata for each placement, whose text is the placement as in the JSON \
                    file, in one line."
            }}}),
        ),
    };
    let good = json!({
        "200": answers::with_content("The file.", content, headers().chain(compressed)),
        "304": answers::empty("Not modified.", headers())
    });
    let mut more = rated(&codes);
    more.push((StatusCode::NOT_FOUND, "retry-after", header("First-Retry-After")));
    Operation {
        id,
        tag: "files",
        summary: &format!("Shows the placements of a video {what}, for players"),
        description: format!(
            "{READERS} The newest file that is ready: `X-Revision` says of which revision of the video it is. A change of \
             the video makes it anew, usually within a second. The same revision has the same bytes."
        ),
        parameters: parameters(["VideoId", "If-None-Match", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &more))
}

fn schemas() -> Value {
    let milliseconds = || json!({"type": "integer", "minimum": 0});
    let fraction = || json!({"type": "number", "minimum": 0, "maximum": 1});
    let region = json!({
        "type": "object", "required": ["height", "width", "x", "y"],
        "properties": {"height": fraction(), "width": fraction(), "x": fraction(), "y": fraction()}
    });
    let placement = json!({
        "campaignId": {"type": "integer", "minimum": 1},
        "endMs": milliseconds(),
        "id": {"type": "string", "format": "uuid"},
        "label": {"type": "string"},
        "layer": milliseconds(),
        "productId": {"type": "string"},
        "region": region,
        "startMs": milliseconds()
    });
    let video = json!({
        "durationMs": milliseconds(),
        "frameRate": {"type": "number"},
        "id": {"type": "string", "format": "uuid"},
        "title": {"type": "string"}
    });
    json!({
        "PlacementsFile": object(&["placements", "revision", "video"], json!({
            "placements": {"type": "array", "items": schema("FilePlacement")},
            "revision": {"type": "integer", "minimum": 1},
            "video": schema("FileVideo")
        })),
        "FilePlacement": object(&["endMs", "id", "layer", "productId", "startMs"], placement),
        "FileVideo": object(&["durationMs", "id", "title"], video)
    })
}

fn example() -> Value {
    json!({
        "placements": [{
            "endMs": 2_500, "id": PLACEMENT, "label": "on the table", "layer": 0, "productId": "mug",
            "region": {"height": 0.25, "width": 0.25, "x": 0.5, "y": 0.5}, "startMs": 1_000
        }],
        "revision": 2,
        "video": {"durationMs": 60_000, "frameRate": 25, "id": VIDEO, "title": "A film"}
    })
}
