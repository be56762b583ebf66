//! The operations of devices in the OpenAPI document.

mod examples;
mod several;

use serde_json::{Value, json};
use shared::devices::{DeviceId, EventType};

use super::history::{DEFAULT_LIMIT, MAX_FIELDS, MAX_LIMIT, MAX_NAMES, PATTERN};
use super::{DEVICE_NOT_ALLOWED, EVENTS, EVENTS_BATCH, RESOURCE, RESOURCE_EVENTS};
use crate::cached::openapi::{READ, shown};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::{constant, header};
use crate::http::openapi::schemas::{object, schema};
use crate::http::problem::Code;
use crate::ingest::openapi::{Operations, OwnForm};

/// Printable ASCII without a blank at either end.
const DEVICE_ID: &str = "^[!-~]([ -~]*[!-~])?$";
/// What is left of a payload's text.
const NORMALIZED: &str = "The payload as PostgreSQL's `jsonb` formats it: the same JSON value, in another text. Keys are sorted, \
    blanks differ, `1e2` is `100`, and an escape such as `\\u00e9` or `\\/` is its character. So a signature over the text \
    does not fit it. The bytes as they were sent are the value of the event's record in Kafka.";
/// A segment that no device's id has.
const DOT_SEGMENT: &str = r"(^|/)\.{1,2}(/|$)";

/// The parts of the document.
pub(super) fn parts() -> Vec<Part> {
    vec![operations().part(), reads(), several::part()]
}

fn reads() -> Part {
    Part {
        tags: vec![("resources", "The resulting state: one resource for each device")],
        token: "Roles of this service are `device`, `user` and `admin`. The claim `device_id` (or the one that this service is set \
            to read), a string or a list, names the devices that a `device` token may send for.",
        paths: json!({
            RESOURCE: {"get": show()},
            RESOURCE_EVENTS: {"get": show_history()}
        }),
        schemas: schemas(),
        headers: json!({
            "Link": {
                "description": "The address of the next page, if there is one: relative, with the parameters of this page.",
                "schema": {"type": "string", "pattern": "^</resource[^>]+>; rel=\"next\"$"}
            }
        }),
        parameters: json!({
        "Id": {
            "in": "path", "name": "id", "required": true, "schema": schema("DeviceId"),
            "description": "The device, percent-encoded: a slash in its id is `%2F`."
        },
        "Limit": {
            "in": "query", "name": "limit",
            "description": "The maximum number of events of the page. It also ends when they have 4 MiB, before `fields` \
                selects from them, or when the answer has.",
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
        },
        "From": {
            "in": "query", "name": "from",
            "description": "Only events that were accepted then or later. RFC 3339, with `%2B` for a plus sign. With `from` or \
                `to`, a device without such events has an empty page.",
            "schema": {"type": "string", "format": "date-time"},
            "example": "2026-01-02T00:00:00Z"
        },
        "To": {
            "in": "query", "name": "to",
            "description": "Only events that were accepted before then, and not earlier than `from`.",
            "schema": {"type": "string", "format": "date-time"},
            "example": "2026-01-03T00:00:00Z"
        },
        "Fields": {
            "in": "query", "name": "fields", "style": "form", "explode": false,
            "description": "JSON pointers (RFC 6901) into the payload, separated by commas: each payload has only these parts, at \
                their places; elements of an array before a part are null. In CSV each pointer is a column. No pointer may \
                be there twice, or lead into the part that another one names. A member whose name has a comma cannot \
                be named.",
            "schema": {
                "type": "array", "minItems": 1, "maxItems": MAX_FIELDS, "uniqueItems": true,
                "items": {"type": "string", "pattern": format!("^(/([^~,/]|~[01])*){{1,{MAX_NAMES}}}$")}
            },
            "example": ["/temp_c", "/status"]
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
        subject_in_header: id_in_header(),
        data: "Payload",
        example: examples::cloud_event(),
        answer: None,
        is_anonymous: false,
    }
}

/// The schema of a device's id in a header, without quotes around it.
fn id_in_header() -> Value {
    let first = "[!#$&-~]|%(2[1-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e])";
    let other = "[ -$&-~]|%([2-6][0-9A-Fa-f]|7[0-9A-Ea-e])";
    let last = "[!-$&-~]|%(2[1-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e])";
    json!({
        "type": "string",
        "pattern": format!("^({first})(({other}){{0,{}}}({last}))?$", DeviceId::MAX - 2),
        "not": {"pattern": r"(^|/|%2[Ff])(\.|%2[Ee]){1,2}(/|%2[Ff]|$)"}
    })
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
    let headers = [
        ("link", header("Link")),
        ("cache-control", constant("private, no-cache")),
        ("content-encoding", header("Content-Encoding")),
        ("vary", json!({"required": true, "schema": {"type": "string"}})),
    ];
    let content = json!({
        "application/json": {"schema": schema("History"), "example": examples::history()},
        "text/csv": {"schema": {
            "type": "string",
            "description": "RFC 4180, with a line of column names: the members of an event, and instead of `payload` one \
                column for each of the `fields`. A string is its text, an absent value or null is empty, everything \
                else is JSON; everything but numbers is in quotes. A text that begins like a formula of a spreadsheet (with `=`, `+`, `-`, `@`, their \
                full-width forms, or a tab or line break) has an apostrophe in front."
        }}
    });
    let headers = headers.into_iter().chain(rates());
    let good = json!({"200": answers::with_content("A page, newest first.", content, headers)});
    json!({
        "operationId": "showHistory",
        "tags": ["resources"],
        "summary": "Shows the events of a device",
        "description": "Roles: `user`, `admin`. Sorted by the time of acceptance, newest first. An event appears when it is applied: \
            one that is applied late (held back, or redriven) may belong to a page that was read already. No event \
            appears twice, and every event that was there when the first page was read appears. CSV if `Accept` prefers \
            `text/csv` to JSON.",
        "security": [{"token": []}],
        "parameters": parameters(["Id", "Limit", "Before", "From", "To", "Fields", "X-Request-Id"]),
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn schemas() -> Value {
    let time = || schema("Time");
    json!({
        "DeviceId": {
            "type": "string", "minLength": 1, "maxLength": DeviceId::MAX, "pattern": DEVICE_ID,
            "not": {"pattern": DOT_SEGMENT},
            "description": "The id of a device, and of the resource that is its latest state: printable ASCII, no blank at \
                either end, and no segment `.` or `..` between slashes. Percent-encode it in paths.",
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
                    "anyOf": [schema("EventId"), {"type": "null"}],
                    "description": "Unique among the device's events; a UUIDv7 if it is absent or null. An event with an id \
                        may be sent any number of times: it counts once."
                },
                "occurred_at": {
                    "type": ["string", "null"], "format": "date-time",
                    "description": "When it happened, by the device's clock (RFC 3339); if it is absent or null, when it was \
                        accepted."
                }
            }
        },
        "Resource": object(&["version", "id", "payload", "event_id", "accepted_at", "updated_at"], json!({
            "version": {"type": "integer", "minimum": 1, "description": "How many events were applied."},
            "id": schema("DeviceId"),
            "payload": {"type": "object", "description": NORMALIZED},
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
                "payload": {"type": "object", "description": NORMALIZED}
            })
        )
    })
}
