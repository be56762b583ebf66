//! What bodies look like.

use serde_json::{Value, json};
use shared::devices::{DeviceId, EventType};
use shared::kafka::ids::EventId;
use shared::runtime::json::payload::{
    MAX_BYTES, MAX_BYTES_WRITTEN_OUT, MAX_DEPTH, MAX_DIGITS, MAX_EXPONENT, MAX_NUMBER,
};

use crate::batch::MAX_EVENTS;
use crate::problem::Code;

/// What an identifier is made of.
const ID: &str = "^[A-Za-z0-9._:-]+$";
/// A text that PostgreSQL can store.
const TEXT: &str = "^[^\\u0000]*$";
/// A name of a CloudEvents attribute, or of its data.
const ATTRIBUTE: &str = "^([a-z0-9]+|data_base64)$";
/// A media type whose data stands as JSON.
const JSON_TYPE: &str = r"^\s*[^;/]*/([^;]*\+)?[Jj][Ss][Oo][Nn]\s*(;[\s\S]*)?$";

pub(super) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn all() -> Value {
    let mut all = json!({
        "DeviceId": {
            "type": "string", "minLength": 1, "maxLength": DeviceId::MAX, "pattern": ID,
            "description": "A device, and the resource that is its latest state.",
            "examples": ["device-123"]
        },
        "EventId": {
            "type": "string", "minLength": 1, "maxLength": EventId::MAX, "pattern": ID,
            "description": "Unique for its device.",
            "examples": ["reading-0001"]
        },
        "RequestId": {
            "type": "string", "minLength": 1, "maxLength": 128, "pattern": ID,
            "description": "The caller's `x-request-id` where it is of this form, else a UUIDv7."
        },
        "Time": {
            "type": "string", "format": "date-time",
            "description": "RFC 3339, in UTC, with microseconds.",
            "examples": ["2026-01-02T03:04:05.678901Z"]
        },
        "Code": {
            "type": "string", "enum": Code::ALL,
            "description": codes()
        }
    });
    for more in [sent(), answered(), problem()] {
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
    }
    all
}

fn codes() -> String {
    let mut text =
        String::from("What went wrong; it never changes its meaning.\n\n| status | code | meaning |\n|---|---|---|\n");
    for code in Code::ALL {
        text.push_str(&format!("| {} | `{}` | {} |\n", code.status().as_u16(), code.as_str(), code.title()));
    }
    text
}

fn sent() -> Value {
    let payload = format!(
        "A JSON object of up to {MAX_BYTES} bytes as it is sent, and {MAX_BYTES_WRITTEN_OUT} with its numbers written \
         out; nested at most {MAX_DEPTH} deep, itself the first level. No key twice, no `\\u0000`, no lone surrogate; \
         numbers of at most {MAX_NUMBER} characters, with at most {MAX_DIGITS} significant digits and an exponent of at \
         most {MAX_EXPONENT} either way."
    );
    json!({
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
                {"type": ["null", "boolean"]},
                // An exponent of 308, as far as values can say it; neither can they count digits.
                {"type": "number", "anyOf": [{"const": 0}, {"minimum": 1e-308}, {"maximum": -1e-308}]},
                {"type": "string", "pattern": TEXT},
                {"type": "array", "items": schema("Json")},
                {"type": "object", "propertyNames": {"pattern": TEXT}, "additionalProperties": schema("Json")}
            ]
        },
        "Event": {
            "type": "object",
            "required": ["device_id", "payload"],
            "additionalProperties": false,
            "properties": {
                "device_id": schema("DeviceId"),
                "payload": schema("Payload"),
                "event_id": {
                    "$ref": "#/components/schemas/EventId",
                    "description": "Unique for its device; a UUIDv7 where it is absent. With it an event may be sent \
                        again as often as you like: it counts once."
                },
                "occurred_at": {
                    "type": "string", "format": "date-time",
                    "description": "When it happened, by the device's clock (RFC 3339); when it was accepted, where \
                        this is absent."
                }
            }
        },
        "CloudEvent": {
            "type": "object",
            "description": "A CloudEvent 1.0 in the JSON format. Extensions are taken and not kept.",
            "required": ["specversion", "type", "source", "id", "subject", "data"],
            "maxProperties": 256,
            "propertyNames": {"pattern": ATTRIBUTE},
            "properties": {
                "specversion": {"const": "1.0"},
                "type": {"const": EventType::DeviceReported.as_str()},
                "source": {
                    "type": "string", "format": "uri-reference", "minLength": 1,
                    "description": "Has to be there, and is not kept."
                },
                "id": schema("EventId"),
                "subject": schema("DeviceId"),
                "time": {
                    "type": ["string", "null"], "format": "date-time",
                    "description": "When it happened, by the device's clock."
                },
                "datacontenttype": {"type": ["string", "null"], "pattern": JSON_TYPE},
                "dataschema": {"type": ["string", "null"], "format": "uri"},
                "data": schema("Payload"),
                "data_base64": {"type": "null", "description": "Not taken: the payload is JSON."}
            },
            "additionalProperties": {
                "anyOf": [
                    {"type": ["string", "boolean", "null"]},
                    {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}
                ]
            }
        },
        "Events": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": schema("Event")},
        "CloudEvents": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": schema("CloudEvent")}
    })
}

fn answered() -> Value {
    let time = || schema("Time");
    json!({
        "Accepted": object(&["request_id", "status", "event_id"], json!({
            "request_id": schema("RequestId"),
            "status": {"const": "accepted"},
            "event_id": schema("EventId")
        })),
        "BatchAccepted": object(&["request_id", "status", "accepted"], json!({
            "request_id": schema("RequestId"),
            "status": {"const": "accepted"},
            "accepted": {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS}
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
            "status": {"type": "integer", "description": "The status that the event would get alone."},
            "code": schema("Code"),
            "event_id": schema("EventId"),
            "errors": schema("Faults")
        })),
        "Resource": object(&["version", "id", "payload", "event_id", "accepted_at", "updated_at"], json!({
            "version": {"type": "integer", "minimum": 1, "description": "How many events were applied."},
            "id": schema("DeviceId"),
            "payload": {"type": "object", "description": "The latest, as PostgreSQL writes it."},
            "event_id": schema("EventId"),
            "accepted_at": time(),
            "updated_at": time()
        })),
        "History": object(&["items", "next"], json!({
            "items": {"type": "array", "maxItems": crate::history::MAX_LIMIT, "items": schema("PastEvent")},
            "next": {
                "type": ["string", "null"],
                "description": "What `before` takes for the next page; null behind the last one."
            }
        })),
        "PastEvent": object(
            &["event_id", "type", "occurred_at", "accepted_at", "outcome", "request_id", "payload"],
            json!({
                "event_id": schema("EventId"),
                "type": {"const": EventType::DeviceReported.as_str()},
                "occurred_at": time(),
                "accepted_at": time(),
                "outcome": {
                    "enum": ["applied", "superseded"],
                    "description": "`superseded`: it came behind a newer state, and changed nothing."
                },
                "request_id": {"type": ["string", "null"]},
                "payload": {"type": "object"}
            })
        ),
        "Live": object(&["status"], json!({"status": {"const": "live"}})),
        "Ready": object(&["status", "dependencies"], json!({
            "status": {
                "enum": ["ready", "degraded", "unready"],
                "description": "`degraded`: not all of it works. Events can be taken, or resources be read, and not both; or the keys of tokens cannot be read anew."
            },
            "dependencies": object(&["kafka", "postgres", "redis"], json!({
                "kafka": schema("Dependency"), "postgres": schema("Dependency"), "redis": schema("Dependency"),
                "jwks": schema("PublishedKeys")
            }))
        })),
        "PublishedKeys": object(&["status", "age_seconds"], json!({
            "status": {"enum": ["up", "down"]},
            "age_seconds": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "How long ago the published keys of tokens were last read; null: never since the start."
            }
        })),
        "Dependency": object(&["status"], json!({
            "status": {"enum": ["up", "down"]},
            "warning": {"type": "string", "description": "What an operator should look at, though it works."}
        }))
    })
}

fn problem() -> Value {
    json!({
        "Problem": object(&["type", "title", "status", "detail", "code", "request_id"], json!({
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "For people: it may be worded differently tomorrow."},
            "code": schema("Code"),
            "request_id": schema("RequestId"),
            "event_id": {
                "$ref": "#/components/schemas/EventId",
                "description": "Of an event that may have been written, or can be sent again."
            },
            "errors": schema("Faults"),
            "items": schema("Outcomes")
        })),
        "Faults": {
            "type": "array", "minItems": 1, "items": schema("Fault"),
            "description": "Everything that is wrong with the body, up to a bound; the last one counts the rest."
        },
        "Fault": object(&["pointer", "detail"], json!({
            "pointer": {
                "type": "string",
                "description": "A JSON pointer (RFC 6901); into `/headers` and `/data` in the binary mode of CloudEvents."
            },
            "detail": {"type": "string"}
        }))
    })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}
