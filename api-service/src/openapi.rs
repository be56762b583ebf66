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

use serde_json::{Value, json};

/// The whole document.
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
    `method_not_allowed` with `Allow`. `HEAD` goes wherever `GET` does. What is no HTTP is answered 400 `bad_request` \
    wherever it was meant for, and headers that are too large 431 `headers_too_large`; the connection is closed then.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    /// Every value of a `code` that the document has.
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
    fn every_code_is_in_the_document_and_no_other() {
        let document = document();
        let mut operations = Vec::new();
        codes(&document["paths"], &mut operations);
        for code in Code::ALL {
            // Of what is no operation, or is answered before it is known which.
            let nowhere = [Code::MethodNotAllowed, Code::HeadersTooLarge];
            let is_there = operations.iter().any(|name| name == code.as_str());
            assert_eq!(is_there, !nowhere.contains(&code), "{}", code.as_str());
        }
        let known: Vec<_> = Code::ALL.into_iter().map(Code::as_str).collect();
        for name in &operations {
            assert!(known.contains(&name.as_str()), "{name}");
        }
        assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(known));
    }
}
