//! The contract as a document: OpenAPI 3.1, made of what the code goes by: the paths of the router,
//! the codes of [`problem`](crate::problem), the limits that the parsers keep.
//!
//! Bodies are parsed by hand, so that every fault is told at once, and rendered by PostgreSQL: there
//! are no types to derive a schema from. What keeps document and service together are the tests of
//! the contract (`tests/it/contract.rs`), which send what the document says to the real router.

mod answers;
mod examples;
mod headers;
mod operations;
mod schemas;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The document as it is sent. Of the kinds of one body plain JSON comes first: pages like Swagger UI offer
/// the first one, and the members of an object in memory are sorted by name, a CloudEvent before an event.
pub fn text() -> String {
    // Strings and numbers can always be written.
    serde_json::to_string(&PlainFirst(&document())).unwrap_or_default()
}

/// Writes a value with this member of each object first.
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

pub fn document() -> Value {
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Device events",
            "summary": "Takes events of devices, and tells the latest state of each.",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"}
        },
        "servers": [{"url": "/", "description": "Where this document comes from"}],
        "tags": [
            {"name": "events", "description": "What devices send"},
            {"name": "resources", "description": "What became of it: one resource a device"},
            {"name": "health", "description": "For load balancers and orchestrators"},
            {"name": "documentation", "description": "This document"}
        ],
        "paths": operations::paths(),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A JWT with `sub`, `exp` and `roles` (`device`, `user`, `admin`), signed with HS256, \
                        RS256, ES256 or EdDSA. The devices that a `device` token may speak for are in `device_id`, a \
                        string or a list."
                }
            },
            "schemas": schemas::all(),
            "headers": headers::all(),
            "parameters": headers::parameters()
        }
    })
}

const DESCRIPTION: &str = "A 202 means that the event is in Kafka, acknowledged by all in-sync replicas. Send an \
    `event_id` and an event may be sent as often as you like: it counts once.\n\n\
    Every error is `application/problem+json` (RFC 9457) with a `code` that never changes its meaning; they are listed \
    with the schema `Code`. A path that is not here is answered 404 `not_found`, a method that is not here 405 \
    `method_not_allowed` with `Allow`. `HEAD` goes wherever `GET` does. What is no HTTP is answered 400, \
    and headers of more than 16 KiB or 100 lines 431: these two have a status and no body, and the connection is closed.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    fn codes(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::Array(names)) = members.get("code").and_then(|code| code.get("enum")) {
                    found.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
                }
                members.values().for_each(|member| codes(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| codes(item, found)),
            _ => {}
        }
    }

    #[test]
    fn plain_json_comes_first_and_without_an_id_of_its_own() {
        let text = text();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document());
        for path in ["/events", "/events/batch"] {
            let body = &document()["paths"][path]["post"]["requestBody"]["content"];
            assert!(body.as_object().unwrap().len() > 1, "there is a choice");
            // As it is sent, because that order counts.
            let sent = serde_json::to_string(&PlainFirst(body)).unwrap();
            assert!(text.contains(&sent) && sent.starts_with(r#"{"application/json":{"#), "{sent}");
            // The page offers the first example: to send it again is to be another event.
            let examples = body[PLAIN]["examples"].as_object().unwrap();
            let first = examples.values().next().unwrap()["value"].to_string();
            assert!(first.contains("device_id") && !first.contains("event_id"), "{first}");
        }
    }

    #[test]
    fn every_code_is_in_the_document_and_no_other() {
        let document = document();
        let mut operations = Vec::new();
        codes(&document["paths"], &mut operations);
        for code in Code::ALL {
            let is_there = operations.iter().any(|name| name == code.as_str());
            // That one is of what is no operation.
            assert_eq!(is_there, code != Code::MethodNotAllowed, "{}", code.as_str());
        }
        let known: Vec<_> = Code::ALL.into_iter().map(Code::as_str).collect();
        for name in &operations {
            assert!(known.contains(&name.as_str()), "{name}");
        }
        assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(known));
    }
}
