//! The operations of devices in the OpenAPI document.

mod examples;

use serde_json::{Value, json};
use shared::devices::{DeviceId, EventType};

use super::history::{DEFAULT_LIMIT, MAX_LIMIT, PATTERN};
use super::{DEVICE_NOT_ALLOWED, EVENTS, EVENTS_BATCH, RESOURCE, RESOURCE_EVENTS};
use crate::cached::openapi::{READ, shown};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::{constant, header};
use crate::http::openapi::schemas::{ID, object, schema};
use crate::http::problem::Code;
use crate::ingest::openapi::{Operations, OwnForm};

/// The parts of the document.
pub(super) fn parts() -> Vec<Part> {
    vec![operations().part(), reads()]
}

fn reads() -> Part {
    Part {
        tags: vec![("resources", "The resulting state: one resource for each device")],
        token: "Roles of this service are `device`, `user` and `admin`. The claim `device_id`, a string or a list, names the \
            devices that a `device` token may send for.",
        paths: json!({
            RESOURCE: {"get": show()},
            RESOURCE_EVENTS: {"get": show_history()}
        }),
        schemas: schemas(),
        headers: json!({
            "Link": {
                "description": "The address of the next page, if there is one.",
                "schema": {
                    "type": "string",
                    "pattern": "^</resource/[^>]+/events\\?limit=[0-9]+&before=[^>]+>; rel=\"next\"$"
                }
            }
        }),
        parameters: json!({
        "Id": {
            "in": "path", "name": "id", "required": true, "schema": schema("DeviceId"),
            "description": "The device."
        },
        "Limit": {
            "in": "query", "name": "limit",
            "description": "The maximum number of events of the page; it also ends after 4 MiB.",
            "schema": {
                "type": "integer", "minimum": 1,
                "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT
            }
        },
        "Before": {
            "in": "query", "name": "before",
            "description": "The `next` of the previous page. Opaque: pass it on unchanged.",
            "schema": {"type": "string", "pattern": PATTERN},
            "example": "1767323045678901.reading-0001"
        }
        }),
    }
}

fn operations() -> Operations {
    Operations {
        tag: ("events", "What devices send"),
        paths: [EVENTS, EVENTS_BATCH],
        ids: ["submitEvent", "submitBatch"],
        roles: "Roles: `device` (for the devices of its token), `admin`.",
        codes: &[DEVICE_NOT_ALLOWED],
        own: Some(OwnForm {
            event: "Event",
            events: examples::events(),
            arrays: examples::arrays(),
            lines: examples::LINES.to_owned(),
        }),
        cloud_event: "CloudEvent",
        types: EventType::ALL,
        subject: "DeviceId",
        data: "Payload",
        example: examples::cloud_event(),
    }
}

fn show() -> Value {
    json!({
        "operationId": "showResource",
        "tags": ["resources"],
        "summary": "Shows the latest state of a device",
        "description": "Roles: `user`, `admin`, `device` (for the devices of its token).",
        "security": [{"token": []}],
        "parameters": parameters(["Id", "If-None-Match", "X-Request-Id"]),
        "responses": shown("Resource", &examples::resource(), &[DEVICE_NOT_ALLOWED])
    })
}

fn show_history() -> Value {
    let codes = [&TOKEN[..], &READ, &[Code::BAD_REQUEST]];
    let headers = [("link", header("Link")), ("cache-control", constant("private, no-cache"))];
    let good = json!({
        "200": answers::json("A page, newest first.", "History", examples::history(), headers.into_iter().chain(rates()))
    });
    json!({
        "operationId": "showHistory",
        "tags": ["resources"],
        "summary": "Shows the events of a device",
        "description": "Roles: `user`, `admin`. Sorted by the time of acceptance, newest first. An event appears when it is applied: \
            one that is applied late (held back, or redriven) may belong to a page that was read already. No event \
            appears twice, and every event that was there when the first page was read appears.",
        "security": [{"token": []}],
        "parameters": parameters(["Id", "Limit", "Before", "X-Request-Id"]),
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn schemas() -> Value {
    let time = || schema("Time");
    json!({
        "DeviceId": {
            "type": "string", "minLength": 1, "maxLength": DeviceId::MAX, "pattern": ID,
            "description": "The id of a device, and of the resource that is its latest state.",
            "examples": ["device-123"]
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
                    "description": "Unique among the device's events; a UUIDv7 if it is absent. An event with an id may be sent \
                        any number of times: it counts once."
                },
                "occurred_at": {
                    "type": "string", "format": "date-time",
                    "description": "When it happened, by the device's clock (RFC 3339); if it is absent, when it was \
                        accepted."
                }
            }
        },
        "Resource": object(&["version", "id", "payload", "event_id", "accepted_at", "updated_at"], json!({
            "version": {"type": "integer", "minimum": 1, "description": "How many events were applied."},
            "id": schema("DeviceId"),
            "payload": {"type": "object", "description": "The latest payload, as PostgreSQL formats it."},
            "event_id": schema("EventId"),
            "accepted_at": time(),
            "updated_at": time()
        })),
        "History": object(&["items", "next"], json!({
            "items": {"type": "array", "maxItems": MAX_LIMIT, "items": schema("PastEvent")},
            "next": {
                "type": ["string", "null"],
                "description": "The value of `before` for the next page; null on the last page."
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
                    "description": "`superseded`: a newer state was there already, and the event changed nothing."
                },
                "request_id": {"type": ["string", "null"]},
                "payload": {"type": "object"}
            })
        )
    })
}
