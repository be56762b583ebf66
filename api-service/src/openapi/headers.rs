//! Headers of requests and of answers.

use std::iter;

use serde_json::{Value, json};
use shared::devices::EventType;

use super::schemas::schema;
use crate::encoding;
use crate::rate::Kind;
use crate::resources::Source;

pub(super) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

/// A header that is in every answer of its kind, and always says the same.
pub(super) fn constant(value: &str) -> Value {
    json!({"required": true, "schema": {"type": "string", "const": value}})
}

pub(super) fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

pub(super) fn all() -> Value {
    let required =
        |description: &str, schema: Value| json!({"required": true, "description": description, "schema": schema});
    let optional = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    let sources = Source::ALL.map(|source| source.parts().1);
    let policies = Kind::ALL.map(Kind::policy).join("|");
    json!({
        "X-Request-Id": required("The request's name, as in the logs.", schema("RequestId")),
        "ETag": required(
            "A name of this very state. What it is made of is nothing to rely on.",
            json!({"type": "string", "pattern": "^\"[1-9][0-9]*-[0-9T:.-]+Z\"$"})
        ),
        "Document-ETag": required("A hash of the content.", json!({"type": "string", "pattern": "^\"[0-9a-f]{32}\"$"})),
        "Cache-Status": required(
            "Where the answer came from (RFC 9211): the cache; PostgreSQL, and it is in the cache now (`stored`); \
             PostgreSQL; the query of another request (`collapsed`); PostgreSQL because the cache gave no answer \
             (`bypass`).",
            json!({"type": "string", "enum": sources})
        ),
        "Retry-After": required("In how many seconds to try again.", json!({"type": "integer", "minimum": 1})),
        "RateLimit-Policy": optional(
            "Where a rate is set: how much a full bucket has, and in how many seconds an empty one is full \
             (draft-ietf-httpapi-ratelimit-headers).",
            json!({"type": "string", "pattern": format!("^\"({policies})\";q=[0-9]+;w=[0-9]+$")})
        ),
        "RateLimit": optional(
            "Where a rate is set: how much is left, and in how many seconds it is all there again.",
            json!({"type": "string", "pattern": format!("^\"({policies})\";r=[0-9]+;t=[0-9]+$")})
        ),
        "Accept-Encoding": optional(
            "With `unsupported_encoding`: what can be unpacked (RFC 7694).",
            json!({"type": "string", "const": encoding::ACCEPTED})
        ),
        "Link": optional(
            "The address of the next page, where there is one.",
            json!({"type": "string", "pattern": "^</resource/[^>]+/events\\?limit=[0-9]+&before=[^>]+>; rel=\"next\"$"})
        )
    })
}

/// Headers of requests, and what stands in paths and queries.
pub(super) fn parameters() -> Value {
    let ce = |name: &str, description: &str, schema: Value| json!({"in": "header", "name": format!("ce-{name}"), "description": description, "schema": schema});
    let encodings: Vec<_> = iter::once("identity").chain(encoding::ACCEPTED.split(", ")).collect();
    json!({
        "Id": {
            "in": "path", "name": "id", "required": true, "schema": schema("DeviceId"),
            "description": "The device."
        },
        "Limit": {
            "in": "query", "name": "limit",
            "description": "How many events the page may have; it ends after 4 MiB all the same.",
            "schema": {
                "type": "integer", "minimum": 1,
                "maximum": crate::history::MAX_LIMIT, "default": crate::history::DEFAULT_LIMIT
            }
        },
        "Before": {
            "in": "query", "name": "before",
            "description": "The `next` of the page before. To be handed back as it is, not to be made up.",
            "schema": {"type": "string", "pattern": crate::history::cursor::PATTERN},
            "example": "1767323045678901.reading-0001"
        },
        "X-Request-Id": {
            "in": "header", "name": "x-request-id",
            "description": "A name for the request, 1 to 128 of `A-Z a-z 0-9 . _ : -`. Any other is replaced.",
            "schema": {"type": "string"}
        },
        "Traceparent": {
            "in": "header", "name": "traceparent",
            "description": "W3C Trace Context. One that is not well-formed is passed over.",
            "schema": {"type": "string"}
        },
        "If-None-Match": {
            "in": "header", "name": "if-none-match",
            "description": "Entity tags (RFC 9110): the answer is 304 where the state is that of one of them.",
            "schema": {"type": "string"}
        },
        "Content-Encoding": {
            "in": "header", "name": "content-encoding",
            "description": "How the body is packed: one of these. The limit of the body holds for what is sent and \
                for what it unpacks to.",
            "schema": {"type": "string", "enum": encodings}
        },
        "Ce-Specversion": ce(
            "specversion",
            "Makes it a CloudEvent in binary mode: the body is the payload alone, and `ce-type`, `ce-source`, `ce-id` \
             and `ce-subject` have to be there too. Values are percent-encoded.",
            json!({"const": "1.0"})
        ),
        "Ce-Type": ce("type", "Binary mode.", json!({"const": EventType::DeviceReported.as_str()})),
        "Ce-Source": ce(
            "source",
            "Binary mode. Has to be there, and is not kept.",
            json!({"type": "string", "format": "uri-reference", "minLength": 1})
        ),
        "Ce-Id": ce("id", "Binary mode: the event's id.", schema("EventId")),
        "Ce-Subject": ce("subject", "Binary mode: the device.", schema("DeviceId")),
        "Ce-Time": ce("time", "Binary mode: when it happened.", json!({"type": "string", "format": "date-time"}))
    })
}
