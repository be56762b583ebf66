//! Headers of requests and responses.

use std::iter;

use serde_json::{Value, json};

use super::schemas::schema;
use crate::http::compression::Coding;
use crate::http::rate::Kind;
use crate::http::{encoding, idempotency};

/// A text without a quote at its beginning, or a quoted string.
const IDEMPOTENCY_KEY: &str = r#"^([!#-~]([ -~]*[!-~])?|"([ !#-\[\]-~]|\\["\\])+")$"#;

pub(crate) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

/// A required header with a fixed value.
pub(crate) fn constant(value: &str) -> Value {
    json!({"required": true, "schema": {"type": "string", "const": value}})
}

/// A challenge with the reason in it (RFC 6750, section 3).
pub(crate) fn described(challenge: &str) -> Value {
    let pattern = format!("^{challenge}, error_description=\"[ !#-\\[\\]-~]+\"$");
    required("Which check of the token failed, and for which claim.", json!({"type": "string", "pattern": pattern}))
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
    let codings = Coding::ALL.map(Coding::name);
    json!({
        "X-Request-Id": required("The id of the request, as in the logs.", schema("RequestId")),
        "Document-ETag": required(
            "A hash of the content; compressed, with the name of the coding.",
            json!({"type": "string", "pattern": format!("^\"[0-9a-f]{{32}}(-({}))?\"$", codings.join("|"))})
        ),
        "Content-Encoding": optional(
            "If the answer is compressed, as `Accept-Encoding` asked for.",
            json!({"type": "string", "enum": codings})
        ),
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
        "Idempotent-Replayed": optional(
            "If the request was done before, with the same `Idempotency-Key`: this is the answer of that time, in which \
             a problem has that request's `request_id`.",
            json!({"type": "string", "const": "true"})
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
        "X-Correlation-Id": {
            "in": "header", "name": "x-correlation-id",
            "description": "An id for what belongs together, which the events of the request carry on through every \
                hop: 1 to 128 of `A-Z a-z 0-9 . _ : -`. With any other value, or without one, it is the request's id.",
            "schema": {"type": "string"}
        },
        "Traceparent": {
            "in": "header", "name": "traceparent",
            "description": "W3C Trace Context. Ignored if it is malformed.",
            "schema": {"type": "string"}
        },
        "Idempotency-Key": {
            "in": "header", "name": "idempotency-key",
            "description": "Sent again with its key (draft-ietf-httpapi-idempotency-key-header-07), the request is done \
                once, and gets the same answer, with `Idempotent-Replayed`, for seven days. Each key is for one request; \
                the keys of other callers are others. Printable ASCII, perhaps in quotes.",
            "schema": {"type": "string", "minLength": 1, "maxLength": idempotency::MAX, "pattern": IDEMPOTENCY_KEY}
        },
        "If-None-Match": {
            "in": "header", "name": "if-none-match",
            "description": "Entity tags (RFC 9110): the answer is 304 if one of them is the current one. Weak tags count, \
                and tags with the suffix of a proxy that compresses (`-gzip`).",
            "schema": {"type": "string"}
        },
        "Content-Encoding": {
            "in": "header", "name": "content-encoding",
            "description": "The body's encoding. The limit of the body applies before and after decompression.",
            "schema": {"type": "string", "enum": encodings}
        }
    })
}
