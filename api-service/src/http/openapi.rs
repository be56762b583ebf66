//! The API's contract as an OpenAPI 3.1 document, built from the values that the code uses: the paths of the routers,
//! the codes of [`problem`](super::problem), the limits of the parsers. Each part of the service adds its own.
//!
//! No schema is derived from a type: our own code parses bodies, to report every fault at once, and PostgreSQL renders
//! them. The contract tests (`tests/it/contract.rs`) keep document and service together: they send requests that the
//! document describes to the real router.

pub mod answers;
mod documentation;
pub mod headers;
pub mod schemas;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

pub use self::documentation::{part, schemas_part};
use super::problem::Code;

/// The additions of one part of the service. Each value is an object, by name.
#[derive(Debug, Default)]
pub struct Part {
    /// Groups of operations: name and description.
    pub tags: Vec<(&'static str, &'static str)>,
    /// A sentence for the description of tokens.
    pub token: &'static str,
    pub paths: Value,
    pub schemas: Value,
    pub headers: Value,
    pub parameters: Value,
}

/// The document as JSON. Among the media types of a body, plain JSON comes first: pages like Swagger UI offer the first
/// one, and the members of an object in memory are sorted by name, a CloudEvent before an event.
pub fn text(document: &Value) -> String {
    // Serializing strings and numbers cannot fail.
    serde_json::to_string(&PlainFirst(document)).unwrap_or_default()
}

/// Serializes a value with the member [`PLAIN`] of each object first.
struct PlainFirst<'a>(&'a Value);

const PLAIN: &str = "application/json";

impl Serialize for PlainFirst<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(PlainFirst)),
            Value::Object(members) => {
                let others = members.iter().filter(|(name, _)| *name != PLAIN);
                let all = members.get_key_value(PLAIN).into_iter().chain(others);
                serializer.collect_map(all.map(|(name, value)| (name, PlainFirst(value))))
            }
            other => other.serialize(serializer),
        }
    }
}

/// The document of these parts, with all error codes.
pub fn document(parts: Vec<Part>, codes: &[Code]) -> Value {
    let mut tags = Vec::new();
    let mut token = vec![TOKEN];
    let (mut paths, mut headers, mut parameters) = (Map::new(), Map::new(), Map::new());
    let mut schemas = Map::from_iter([("Code".to_owned(), schemas::codes(codes))]);
    for part in parts {
        tags.extend(part.tags.iter().map(|(name, description)| json!({"name": name, "description": description})));
        token.extend((!part.token.is_empty()).then_some(part.token));
        for (all, more) in [
            (&mut paths, part.paths),
            (&mut schemas, part.schemas),
            (&mut headers, part.headers),
            (&mut parameters, part.parameters),
        ] {
            if let Value::Object(more) = more {
                all.extend(more);
            }
        }
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Events",
            "summary": "Accepts events, and serves the resulting state.",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"}
        },
        "servers": [{"url": "/", "description": "The server of this document"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": token.join(" ")}
            },
            "schemas": schemas,
            "headers": headers,
            "parameters": parameters
        }
    })
}

const TOKEN: &str = "A signed JWT of up to 15,000 bytes with `sub`, `exp` and `roles`, or with the claims that this service is \
    set to read instead; signed with HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA.";

const DESCRIPTION: &str = "A 202 means that the event is in Kafka, acknowledged by all in-sync replicas. An event \
    with an `event_id` may be sent any number of times: it counts once.\n\n\
    Every error is `application/problem+json` (RFC 9457) with a `code` that never changes its meaning; the schema `Code` \
    lists all codes. A path that this document does not have gets 404 `not_found`, a method that it does not have 405 \
    `method_not_allowed` with `Allow`. Every `GET` has a `HEAD`. Query parameters that this document does not name are \
    ignored; a wrong value, or a repeated parameter, is refused by name.\n\n\
    A page of another origin may call the API from a browser if the instance is set up for that origin (CORS, \
    `CORS_ORIGINS`). `OPTIONS` then answers preflights, without a token, and every answer has the headers of CORS. \
    `OPTIONS` with `WebHook-Request-Origin` is the handshake of CloudEvents' webhooks, on the paths that take events; \
    it is granted to the senders that the instance is set up for (`WEBHOOK_ALLOWED_ORIGINS`). Without \
    CORS any other `OPTIONS` gets 405. The history and this document are compressed, from 1 KiB on, as \
    `Accept-Encoding` asks for it.\n\n\
    A request that is not HTTP gets 400, and one with \
    headers of more than 32 KiB or 100 lines 431: these two answers have a status and no body, and close the connection.";
