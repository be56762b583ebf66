//! The schemas that the events of all domains share, and of the answers.

use serde_json::{Value, json};
use shared::runtime::json::payload::{
    MAX_BYTES, MAX_BYTES_WRITTEN_OUT, MAX_DEPTH, MAX_DIGITS, MAX_EXPONENT, MAX_NUMBER,
};

use crate::http::openapi::Part;
use crate::http::openapi::schemas::{object, schema};
use crate::ingest::batch::MAX_EVENTS;

/// A text that PostgreSQL can store.
const TEXT: &str = "^[^\\u0000]*$";
/// The members that each answer to one event has.
pub(super) const ACCEPTED: [&str; 3] = ["request_id", "status", "event_id"];

/// Their schemas.
pub(super) fn accepted() -> Value {
    json!({
        "request_id": schema("RequestId"),
        "status": {"const": "accepted"},
        "event_id": schema("EventId")
    })
}

/// The parts that the events of all domains share.
pub fn part() -> Part {
    let payload = format!(
        "A JSON object of up to {MAX_BYTES} bytes as it is sent, and {MAX_BYTES_WRITTEN_OUT} with its numbers written \
         out; nested at most {MAX_DEPTH} levels deep, including itself. No duplicate key, no `\\u0000`, no lone surrogate; \
         numbers of at most {MAX_NUMBER} characters, with at most {MAX_DIGITS} significant digits and an exponent from \
         -{MAX_EXPONENT} to {MAX_EXPONENT}, and finite as IEEE 754 doubles: every finite double is accepted as JSON \
         libraries print it. The record in Kafka has these bytes as they were sent; reads answer the same JSON value in \
         another text (keys sorted, `1e2` as `100`)."
    );
    let schemas = json!({
        "Payload": {
            "type": "object",
            "propertyNames": {"pattern": TEXT},
            "additionalProperties": schema("Json"),
            "description": payload,
            "examples": [{"status": "online", "temp_c": 37.2}]
        },
        "Json": {
            "description": "Any JSON value within the limits of a payload.",
            "anyOf": [
                // JSON Schema cannot count digits.
                {"type": ["null", "boolean", "number"]},
                {"type": "string", "pattern": TEXT},
                {"type": "array", "items": schema("Json")},
                {"type": "object", "propertyNames": {"pattern": TEXT}, "additionalProperties": schema("Json")}
            ]
        },
        "Accepted": object(&ACCEPTED, accepted()),
        "BatchAccepted": object(&["request_id", "status", "accepted"], json!({
            "request_id": schema("RequestId"),
            "status": {"const": "accepted"},
            "accepted": {"type": "integer", "minimum": 0, "maximum": MAX_EVENTS}
        })),
        "BatchPartial": object(&["request_id", "status", "accepted", "items"], json!({
            "request_id": schema("RequestId"),
            "status": {"const": "partial"},
            "accepted": {"type": "integer", "minimum": 0, "maximum": MAX_EVENTS - 1},
            "items": schema("Outcomes")
        })),
        "Outcomes": {
            "type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": schema("Outcome"),
            "description": "One for each event of the batch, in order."
        },
        "Outcome": object(&["index", "status"], json!({
            "index": {"type": "integer", "minimum": 0, "maximum": MAX_EVENTS - 1},
            "status": {"type": "integer", "description": "The status that this event would get in a request of its own."},
            "code": schema("Code"),
            "event_id": schema("EventId"),
            "errors": schema("Faults"),
            "retry_after": {
                "type": "integer", "minimum": 1,
                "description": "After how many seconds the event may be sent again, if that is known."
            }
        }))
    });
    Part { schemas, ..Part::default() }
}
