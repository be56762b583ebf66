//! The operations on several resources: a query for some, and the list of all.

use serde_json::{Value, json};
use shared::devices::DeviceId;

use super::examples;
use crate::devices::list::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::devices::query::MAX_IDS;
use crate::devices::{DEVICE_NOT_ALLOWED, RESOURCES, RESOURCES_QUERY};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::{constant, header};
use crate::http::openapi::schemas::{object, schema};
use crate::http::problem::Code;

/// The errors of a body, and of a query in it.
const BODY: [Code; 8] = [
    Code::NOT_JSON,
    Code::BAD_REQUEST,
    Code::REQUEST_TIMEOUT,
    Code::BODY_TOO_LARGE,
    Code::TOO_MANY_IDS,
    Code::UNSUPPORTED_MEDIA_TYPE,
    Code::UNSUPPORTED_ENCODING,
    Code::INVALID_QUERY,
];

pub(super) fn part() -> Part {
    Part {
        paths: json!({
            RESOURCES: {"get": list()},
            RESOURCES_QUERY: {"post": query()}
        }),
        schemas: schemas(),
        parameters: json!({
            "Prefix": {
                "in": "query", "name": "prefix",
                "description": "Only ids that begin with this text.",
                "schema": {"type": "string", "maxLength": DeviceId::MAX, "pattern": PART_OF_ID},
                "example": "device-"
            },
            "After": {
                "in": "query", "name": "after",
                "description": "The `next` of the previous page, or any other text: only ids that come after it.",
                "schema": {"type": "string", "maxLength": DeviceId::MAX, "pattern": PART_OF_ID}
            },
            "ListLimit": {
                "in": "query", "name": "limit",
                "description": "The maximum number of resources of the page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
            }
        }),
        ..Part::default()
    }
}

/// Printable ASCII.
const PART_OF_ID: &str = "^[ -~]*$";

fn query() -> Value {
    let codes = [&TOKEN[..], &BODY, &[Code::OVERLOADED, Code::TIMED_OUT]];
    let good = json!({
        "200": answers::json("The outcome of each read, in the order of the ids.", "States", examples::states(), rates())
    });
    json!({
        "operationId": "queryResources",
        "tags": ["resources"],
        "summary": "Shows the latest states of several devices",
        "description": "Roles: `user`, `admin`, `device` (for the devices of its token). Each id has the outcome that `GET \
            /resource/{id}` would have now. The answer ends at 4 MiB: `next` has the ids that are left, as `ids` for \
            the next query. In the rate limit a query costs a read for each id that it answers, and at least one; it needs \
            enough for all of its ids.",
        "security": [{"token": []}],
        "parameters": parameters(["Content-Encoding", "X-Request-Id"]),
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": schema("Query"), "example": {"ids": ["device-123", "device-456"]}}}
        },
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn list() -> Value {
    let codes = [&TOKEN[..], &[Code::BAD_REQUEST, Code::STORE_UNAVAILABLE, Code::OVERLOADED, Code::TIMED_OUT]];
    let headers = [("link", header("Link")), ("cache-control", constant("private, no-cache"))];
    let headers = headers.into_iter().chain(rates());
    let good = json!({
        "200": answers::json("A page, in the order of the ids' bytes.", "Listing", examples::listing(), headers)
    });
    json!({
        "operationId": "listResources",
        "tags": ["resources"],
        "summary": "Lists the devices that have a state",
        "description": "Roles: `user`, `admin`. The list is read from PostgreSQL, and not cached.",
        "security": [{"token": []}],
        "parameters": parameters(["Prefix", "After", "ListLimit", "X-Request-Id"]),
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn schemas() -> Value {
    let id = json!({"type": "string", "description": "As it was sent."});
    let refused =
        [Code::INTERNAL, Code::RESOURCE_NOT_FOUND, Code::STORE_UNAVAILABLE, Code::TIMED_OUT, DEVICE_NOT_ALLOWED];
    json!({
        "Query": object(&["ids"], json!({
            "ids": {
                "type": "array", "maxItems": MAX_IDS, "items": {"type": "string"},
                "description": "Ids of devices. One that no device can have is answered like one that no device has."
            }
        })),
        "States": object(&["items", "next"], json!({
            "items": {"type": "array", "maxItems": MAX_IDS, "items": schema("State")},
            "next": {
                "type": ["array", "null"], "items": {"type": "string"},
                "description": "The ids that are left, because the answer would be larger than 4 MiB; otherwise null."
            }
        })),
        "State": {
            "oneOf": [
                object(&["id", "status", "etag", "resource"], json!({
                    "id": id,
                    "status": {"const": 200},
                    "etag": {"$ref": "#/components/headers/ETag/schema"},
                    "resource": schema("Resource")
                })),
                object(&["id", "status", "code"], json!({
                    "id": id,
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "code": {"enum": refused}
                }))
            ]
        },
        "Listing": object(&["items", "next"], json!({
            "items": {"type": "array", "maxItems": MAX_LIMIT, "items": schema("Listed")},
            "next": {
                "type": ["string", "null"],
                "description": "The value of `after` for the next page; null on the last page."
            }
        })),
        "Listed": object(&["id", "version", "accepted_at", "updated_at"], json!({
            "id": schema("DeviceId"),
            "version": {"type": "integer", "minimum": 1, "description": "How many events were applied."},
            "accepted_at": schema("Time"),
            "updated_at": schema("Time")
        }))
    })
}
