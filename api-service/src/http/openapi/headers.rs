//! Headers of requests and responses.

use std::iter;

use serde_json::{Value, json};

use super::schemas::schema;
use crate::http::encoding;
use crate::http::rate::Kind;

pub(crate) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

/// A required header with a fixed value.
pub(crate) fn constant(value: &str) -> Value {
    json!({"required": true, "schema": {"type": "string", "const": value}})
}

pub(crate) fn required(description: &str, schema: Value) -> Value {
    json!({"required": true, "description": description, "schema": schema})
}

pub(crate) fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

pub(crate) fn all() -> Value {
    let optional = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    let policies = Kind::ALL.map(Kind::policy).join("|");
    json!({
        "X-Request-Id": required("The id of the request, as in the logs.", schema("RequestId")),
        "Document-ETag": required("A hash of the content.", json!({"type": "string", "pattern": "^\"[0-9a-f]{32}\"$"})),
        "Retry-After": required("After how many seconds to try again.", json!({"type": "integer", "minimum": 1})),
        "RateLimit-Policy": optional(
            "If there is a rate limit: the size of the bucket (`q`), and in how many seconds an empty one is full (`w`; \
             draft-ietf-httpapi-ratelimit-headers).",
            json!({"type": "string", "pattern": format!("^\"({policies})\";q=[0-9]+;w=[0-9]+$")})
        ),
        "RateLimit": optional(
            "If there is a rate limit: how much is left (`r`), and in how many seconds the bucket is full again (`t`).",
            json!({"type": "string", "pattern": format!("^\"({policies})\";r=[0-9]+;t=[0-9]+$")})
        ),
        "Accept-Encoding": optional(
            "With `unsupported_encoding`: the accepted encodings (RFC 7694).",
            json!({"type": "string", "const": *encoding::ACCEPTED})
        )
    })
}

/// Headers of requests that several operations share.
pub(crate) fn parameters() -> Value {
    let encodings: Vec<_> = iter::once("identity").chain(encoding::names()).collect();
    json!({
        "X-Request-Id": {
            "in": "header", "name": "x-request-id",
            "description": "An id for the request: 1 to 128 of `A-Z a-z 0-9 . _ : -`. Any other value is replaced.",
            "schema": {"type": "string"}
        },
        "Traceparent": {
            "in": "header", "name": "traceparent",
            "description": "W3C Trace Context. Ignored if it is malformed.",
            "schema": {"type": "string"}
        },
        "If-None-Match": {
            "in": "header", "name": "if-none-match",
            "description": "Entity tags (RFC 9110): the answer is 304 if one of them is the current one.",
            "schema": {"type": "string"}
        },
        "Content-Encoding": {
            "in": "header", "name": "content-encoding",
            "description": "The body's encoding. The limit of the body applies before and after decompression.",
            "schema": {"type": "string", "enum": encodings}
        }
    })
}
