//! Every operation, at the path that the router has for it.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::answers::{self, REQUEST_ID, problems, rates};
use super::examples;
use super::headers::{constant, header, parameter};
use super::schemas::schema;
use crate::app::ROUTES;
use crate::problem::Code;
use crate::{batch, docs, events};

/// What every call that needs a token may be refused with.
const TOKEN: [Code; 5] =
    [Code::InvalidToken, Code::Forbidden, Code::RateLimited, Code::Internal, Code::KeysUnavailable];
/// What every submission may be refused with.
const SUBMISSION: [Code; 13] = [
    Code::BadRequest,
    Code::NotJson,
    Code::DeviceNotAllowed,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedEncoding,
    Code::InvalidEvent,
    Code::QueueFull,
    Code::TopicMissing,
    Code::ShuttingDown,
    Code::Overloaded,
    Code::OutcomeUnknown,
];
/// What every read may be refused with.
const READ: [Code; 4] = [Code::ResourceNotFound, Code::StoreUnavailable, Code::Overloaded, Code::TimedOut];

pub(super) fn paths() -> Value {
    let [one, many, resource, history, live, ready, document, page, file] = ROUTES;
    json!({
        one: {"post": submit()},
        many: {"post": submit_batch()},
        resource: {"get": show()},
        history: {"get": show_history()},
        live: {"get": live_operation()},
        ready: {"get": ready_operation()},
        document: {"get": document_operation()},
        page: {"get": page_operation()},
        file: {"get": file_operation()}
    })
}

fn parameters(names: impl IntoIterator<Item = &'static str>) -> Vec<Value> {
    names.into_iter().map(parameter).collect()
}

fn answers(good: Value, codes: &[&[Code]], more: &[(StatusCode, &'static str, Value)]) -> Value {
    let mut all = problems(&codes.concat(), more);
    if let Value::Object(good) = good {
        all.extend(good);
    }
    Value::Object(all)
}

/// The headers of a rate, on every problem that may come behind it.
fn rated(codes: &[&[Code]]) -> Vec<(StatusCode, &'static str, Value)> {
    let mut statuses: Vec<_> = codes.concat().iter().map(|code| code.status()).collect();
    statuses.retain(|status| *status != StatusCode::UNAUTHORIZED);
    statuses.sort_unstable();
    statuses.dedup();
    statuses.into_iter().flat_map(|status| rates().map(|(name, header)| (status, name, header))).collect()
}

fn submit() -> Value {
    let codes = [&TOKEN[..], &SUBMISSION];
    let accepted = json!({"request_id": REQUEST_ID, "status": "accepted", "event_id": "reading-0001"});
    let good = json!({
        "202": answers::json("Kafka holds the event.", "Accepted", accepted, rates())
    });
    let ce = ["Ce-Specversion", "Ce-Type", "Ce-Source", "Ce-Id", "Ce-Subject", "Ce-Time"];
    let parameters = parameters(["X-Request-Id", "Traceparent", "Content-Encoding"].into_iter().chain(ce));
    json!({
        "operationId": "submitEvent",
        "tags": ["events"],
        "summary": "Sends an event",
        "description": format!(
            "Roles: `device` (for the devices of its token), `admin`. The body may have up to {} bytes.\n\n\
             CloudEvents 1.0 are taken in structured mode (`application/cloudevents+json`) and in binary mode: with \
             `ce-specversion` and the other `ce-` headers beside `application/json` the body is the payload alone, a \
             `Payload` and no `Event`: OpenAPI cannot let a header decide between two schemas of one type.\n\n\
             With 503 `outcome_unknown` the event may have been written: send it again with the same `event_id`.",
            events::MAX_BODY
        ),
        "security": [{"token": []}],
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "content": {
                "application/json": {"schema": schema("Event"), "examples": examples::events()},
                "application/cloudevents+json": {"schema": schema("CloudEvent"), "example": examples::cloud_event()}
            }
        },
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn submit_batch() -> Value {
    let codes = [&TOKEN[..], &SUBMISSION, &[Code::TooManyEvents]];
    let accepted = json!({"request_id": REQUEST_ID, "status": "accepted", "accepted": 2});
    let good = json!({
        "202": answers::json("Kafka holds all events.", "BatchAccepted", accepted, rates()),
        "207": answers::json(
            "Events came to different ends: each is told.",
            "BatchPartial",
            examples::partial(),
            rates()
        )
    });
    let parameters = parameters(["X-Request-Id", "Traceparent", "Content-Encoding"]);
    // OpenAPI 3.1 has no word for a sequence of values: it is typed as the array that it stands for.
    let lines = json!({
        "schema": {
            "$ref": "#/components/schemas/Events",
            "description": "Not an array: its items, one on each line."
        },
        "example": examples::LINES
    });
    json!({
        "operationId": "submitBatch",
        "tags": ["events"],
        "summary": "Sends many events",
        "description": format!(
            "Roles: `device` (for the devices of its token), `admin`. Up to {} events and {} bytes: a JSON array, or \
             NDJSON with an event on each line, or CloudEvents in batched mode.\n\n\
             Where all events come to the same end the answer is the one that a single event would get, with pointers \
             that begin with the index; with 503 `items` tells the `event_id` of each, so that they can be sent again. \
             Events go to Kafka in their order, and behind one that finds no room none is taken.",
            batch::MAX_EVENTS, batch::MAX_BODY
        ),
        "security": [{"token": []}],
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "content": {
                "application/json": {"schema": schema("Events"), "examples": examples::arrays()},
                "application/x-ndjson": lines.clone(),
                "application/jsonl": lines,
                "application/cloudevents-batch+json": {
                    "schema": schema("CloudEvents"), "example": [examples::cloud_event()]
                }
            }
        },
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn show() -> Value {
    let codes = [&TOKEN[..], &[Code::DeviceNotAllowed], &READ];
    let headers = || {
        let own = [
            ("etag", header("ETag")),
            ("cache-status", header("Cache-Status")),
            ("cache-control", constant("private, no-cache")),
        ];
        own.into_iter().chain(rates())
    };
    let good = json!({
        "200": answers::json("The latest state.", "Resource", examples::resource(), headers()),
        "304": answers::empty("It is still the state of `If-None-Match`.", headers())
    });
    let mut more = rated(&codes);
    // It is in every answer but that to a name that no resource can have.
    let mut source = Map::from_iter([("description".to_owned(), json!("Where it is known from that there is none."))]);
    source.insert("schema".into(), json!({"$ref": "#/components/headers/Cache-Status/schema"}));
    more.push((StatusCode::NOT_FOUND, "cache-status", Value::Object(source)));
    json!({
        "operationId": "showResource",
        "tags": ["resources"],
        "summary": "Shows the latest state of a device",
        "description": "Roles: `user`, `admin`, `device` (for the devices of its token).",
        "security": [{"token": []}],
        "parameters": parameters(["Id", "If-None-Match", "X-Request-Id"]),
        "responses": answers(good, &codes, &more)
    })
}

fn show_history() -> Value {
    let codes = [&TOKEN[..], &READ, &[Code::BadRequest]];
    let headers = [("link", header("Link")), ("cache-control", constant("private, no-cache"))];
    let good = json!({
        "200": answers::json("A page, newest first.", "History", examples::history(), headers.into_iter().chain(rates()))
    });
    json!({
        "operationId": "showHistory",
        "tags": ["resources"],
        "summary": "Shows what happened to a device",
        "description": "Roles: `user`, `admin`. Sorted by when events were accepted, and an event takes its place when it \
            is applied: one that is applied late (held back, or redriven) may come into a page that was read already. \
            No event comes twice, and none is left out that was there when the first page was read.",
        "security": [{"token": []}],
        "parameters": parameters(["Id", "Limit", "Before", "X-Request-Id"]),
        "responses": answers(good, &codes, &rated(&codes))
    })
}

fn live_operation() -> Value {
    json!({
        "operationId": "live",
        "tags": ["health"],
        "summary": "Whether the process lives",
        "description": "Never a matter of Kafka, PostgreSQL or Redis.",
        "security": [],
        "parameters": parameters(["X-Request-Id"]),
        "responses": answers(json!({
            "200": answers::json("It does.", "Live", json!({"status": "live"}), [("cache-control", constant("no-store"))])
        }), &[&[Code::Internal]], &[])
    })
}

fn ready_operation() -> Value {
    let answer = |description: &str, status: &str, redis: &str| {
        let (up, one) = (json!({"status": "up"}), json!({"status": redis}));
        let example = json!({"status": status, "dependencies": {"kafka": one, "postgres": one, "redis": up}});
        answers::json(description, "Ready", example, [("cache-control", constant("no-store"))])
    };
    json!({
        "operationId": "ready",
        "tags": ["health"],
        "summary": "Whether traffic may come here",
        "security": [],
        "parameters": parameters(["X-Request-Id"]),
        "responses": answers(json!({
            "200": answer("It may.", "ready", "up"),
            "503": answer("It may not.", "unready", "down")
        }), &[&[Code::Internal]], &[])
    })
}

/// What the files of the documentation have in common.
fn cached() -> impl Iterator<Item = (&'static str, Value)> {
    [
        ("etag", header("Document-ETag")),
        ("cache-control", constant(docs::CACHE_CONTROL)),
        ("x-content-type-options", constant("nosniff")),
    ]
    .into_iter()
}

fn document_operation() -> Value {
    let content = json!({
        "application/json": {"schema": {"type": "object", "required": ["openapi", "info", "paths", "components"]}}
    });
    json!({
        "operationId": "document",
        "tags": ["documentation"],
        "summary": "This document",
        "security": [],
        "parameters": parameters(["If-None-Match", "X-Request-Id"]),
        "responses": answers(json!({
            "200": answers::with_content("OpenAPI 3.1.", content, cached()),
            "304": answers::empty("It is still the one of `If-None-Match`.", cached())
        }), &[&[Code::Internal]], &[])
    })
}

fn page_operation() -> Value {
    let headers = || {
        let own = [("content-security-policy", constant(docs::POLICY)), ("referrer-policy", constant("no-referrer"))];
        cached().chain(own)
    };
    let content = json!({"text/html": {"schema": {"type": "string"}}});
    json!({
        "operationId": "page",
        "tags": ["documentation"],
        "summary": "A page to read this document, and to try it",
        "security": [],
        "parameters": parameters(["If-None-Match", "X-Request-Id"]),
        "responses": answers(json!({
            "200": answers::with_content("Swagger UI.", content, headers()),
            "304": answers::empty("It is still the one of `If-None-Match`.", headers())
        }), &[&[Code::Internal]], &[])
    })
}

fn file_operation() -> Value {
    let content = json!({
        "text/javascript": {"schema": {"type": "string"}},
        "text/css": {"schema": {"type": "string"}}
    });
    let packed = ("content-encoding", json!({"schema": {"type": "string", "const": "gzip"}}));
    json!({
        "operationId": "file",
        "tags": ["documentation"],
        "summary": "What the page is made of",
        "security": [],
        "parameters": [
            {
                "in": "path", "name": "file", "required": true,
                "schema": {"type": "string", "enum": docs::FILES.each_ref().map(|file| file.name)}
            },
            parameter("If-None-Match"),
            parameter("X-Request-Id")
        ],
        "responses": answers(json!({
            "200": answers::with_content("The file.", content, cached().chain([packed])),
            "304": answers::empty("It is still the one of `If-None-Match`.", cached())
        }), &[&[Code::NotFound, Code::Internal]], &[])
    })
}
