//! The operations on videos, placements, products and validations in the OpenAPI document.

mod check;
mod files;
mod places;
mod products;
mod schemas;
mod validations;
mod videos;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::codes::{PLACEMENT_NOT_FOUND, PRODUCT_NOT_FOUND, VALIDATION_NOT_FOUND, VIDEO_NOT_FOUND};
use super::page::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{rated, rates, security};
use crate::http::openapi::headers::{constant, header, required};
use crate::http::problem::Code;

/// The parts of the document.
pub(super) fn parts() -> Vec<Part> {
    vec![common(), videos::part(), places::part(), products::part(), validations::part(), files::part(), check::part()]
}

/// The parts of the service that validates, which may be the only one of an instance.
pub(super) fn of_validation() -> Vec<Part> {
    vec![check::of_service()]
}

/// The errors of a read.
const READ: [Code; 3] = [Code::STORE_UNAVAILABLE, Code::OVERLOADED, Code::TIMED_OUT];
/// The errors of a body, beside those of what is in it.
const BODY: [Code; 6] = [
    Code::NOT_JSON,
    Code::BAD_REQUEST,
    Code::REQUEST_TIMEOUT,
    Code::BODY_TOO_LARGE,
    Code::UNSUPPORTED_MEDIA_TYPE,
    Code::UNSUPPORTED_ENCODING,
];
/// The errors of a command.
const COMMAND: [Code; 8] = [
    Code::BAD_REQUEST,
    Code::KEY_IN_PROGRESS,
    Code::KEY_REUSED,
    Code::OUTBOX_FULL,
    Code::OUTCOME_UNKNOWN,
    Code::STORE_UNAVAILABLE,
    Code::OVERLOADED,
    Code::TIMED_OUT,
];
/// The errors of a command that changes a state that its caller has read.
const CHANGE: [Code; 2] = [Code::PRECONDITION_FAILED, Code::PRECONDITION_REQUIRED];

const EDITORS: &str = "Roles: `editor`, `plugin`, `admin`.";
const READERS: &str = "Roles: `user`, `editor`, `plugin`, `admin`.";
/// The last part of the description of a command.
const COMMITTED: &str = "It is answered when it is committed, with its event.";

fn common() -> Part {
    let id = |description: &str, schema: Value, example: &str| {
        json!({
            "in": "path", "name": "id", "required": true, "description": description, "schema": schema,
            "example": example
        })
    };
    let uuid = || json!({"type": "string", "format": "uuid"});
    Part {
        token: "`editor` and `plugin` make videos and placements, and `user` reads them.",
        headers: json!({
            "Version-ETag": required(
                "Its version, for `If-Match`.",
                json!({"type": "string", "pattern": "^\"[1-9][0-9]*\"$"})
            )
        }),
        parameters: json!({
            "VideoId": id("The id of a video.", uuid(), schemas::VIDEO),
            "PlacementId": id("The id of a placement.", uuid(), schemas::PLACEMENT),
            "ProductId": id("The id of a product, which its admin chooses.", schemas::product_id(), "mug"),
            "ValidationId": id("The id of a validation.", uuid(), schemas::VALIDATION),
            "State-If-Match": {
                "in": "header", "name": "if-match", "required": true,
                "description": "The `ETag` of the state that was read and is to be changed (RFC 9110), or a list, or `*`. \
                    Without it the answer is 428, and 412 if the state has changed since. Weak tags match none.",
                "schema": {"type": "string"}, "example": "\"1\""
            },
            "PageLimit": {
                "in": "query", "name": "limit", "description": "The most items of the page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
            }
        }),
        ..Part::default()
    }
}

/// What an operation is.
struct Operation<'a> {
    id: &'a str,
    tag: &'a str,
    summary: &'a str,
    description: String,
    parameters: Vec<Value>,
}

impl Operation<'_> {
    /// The operation with these responses, and with a body if it has one.
    fn with(self, body: Option<Value>, responses: Value) -> Value {
        let Self { id, tag, summary, description, parameters } = self;
        let mut operation = json!({
            "operationId": id,
            "tags": [tag],
            "summary": summary,
            "description": description,
            "security": security(false),
            "parameters": parameters,
            "responses": responses
        });
        if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
            operation.insert("requestBody".to_owned(), json!({"required": true, "content": body}));
        }
        operation
    }
}

/// The headers of the good answer to a command, beside its own.
fn written(own: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
    let usual = [("cache-control", constant("no-store")), ("idempotent-replayed", header("Idempotent-Replayed"))];
    own.into_iter().chain(usual).chain(rates()).collect()
}

/// The headers of the problems of a command: those that are kept with a key may be a repeat's.
fn refused(codes: &[&[Code]]) -> Vec<(StatusCode, &'static str, Value)> {
    let kept = [
        StatusCode::NOT_FOUND,
        StatusCode::CONFLICT,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    let replayed = kept.map(|status| (status, "idempotent-replayed", header("Idempotent-Replayed")));
    rated(codes).into_iter().chain(replayed).collect()
}

/// The headers of what is read anew for each request.
fn read() -> Vec<(&'static str, Value)> {
    [("cache-control", constant("private, no-cache"))].into_iter().chain(rates()).collect()
}

/// The same, with its version as its entity tag.
fn tagged() -> Vec<(&'static str, Value)> {
    [("etag", header("Version-ETag"))].into_iter().chain(read()).collect()
}

/// A body of these media types.
fn body(types: &[&str], schema: &Value, examples: &Value) -> Value {
    Value::Object(
        types.iter().map(|name| ((*name).to_owned(), json!({"schema": schema, "examples": examples}))).collect(),
    )
}
