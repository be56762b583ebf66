//! The schemas of bodies, including problems.

use serde_json::{Value, json};
use shared::kafka::ids::EventId;

use crate::http::problem::Code;

/// The pattern of a token, such as an event's id.
pub(crate) const ID: &str = "^[A-Za-z0-9._:-]+$";
/// The pattern of a text without control characters.
pub(crate) const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

pub(crate) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object with these members and no other.
pub(crate) fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

/// A problem, which may have further members (RFC 9457, section 3.2).
fn extensible(mut problem: Value) -> Value {
    let more = json!({"type": ["string", "integer"], "description": "More about this kind of error, such as a limit."});
    problem.as_object_mut().map(|problem| problem.insert("additionalProperties".to_owned(), more));
    problem
}

/// All codes of problems.
pub(super) fn codes(codes: &[Code]) -> Value {
    let row = |code: &Code| format!("| {} | `{}` | {} |\n", code.status().as_u16(), code.as_str(), code.title());
    let rows: String = codes.iter().map(row).collect();
    let intro = "The kind of error; a code never changes its meaning.\n\n| status | code | meaning |\n|---|---|---|\n";
    json!({"type": "string", "enum": codes, "description": format!("{intro}{rows}")})
}

pub(super) fn all() -> Value {
    json!({
        "EventId": {
            "type": "string", "minLength": 1, "maxLength": EventId::MAX, "pattern": ID,
            "description": "Unique among the events of the same subject.",
            "examples": ["reading-0001"]
        },
        "RequestId": {
            "type": "string", "minLength": 1, "maxLength": 128, "pattern": ID,
            "description": "The caller's `x-request-id` if it has this form, otherwise a UUIDv7."
        },
        "Time": {
            "type": "string", "format": "date-time",
            "description": "RFC 3339, in UTC, with microseconds.",
            "examples": ["2026-01-02T03:04:05.678901Z"]
        },
        "Problem": extensible(object(&["type", "title", "status", "detail", "code", "request_id"], json!({
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "Human-readable; the wording may change."},
            "code": schema("Code"),
            "request_id": schema("RequestId"),
            "event_id": {
                "$ref": "#/components/schemas/EventId",
                "description": "The id of an event that may have been written, or can be sent again."
            },
            "errors": schema("Faults"),
            "items": schema("Outcomes")
        }))),
        "Faults": {
            "type": "array", "minItems": 1, "items": schema("Fault"),
            "description": "Every fault of the body, up to a limit; the last entry counts the rest."
        },
        "Fault": object(&["pointer", "detail"], json!({
            "pointer": {
                "type": "string",
                "description": "A JSON pointer (RFC 6901); in the binary mode of CloudEvents into `/headers` and `/data`."
            },
            "detail": {"type": "string"}
        }))
    })
}
