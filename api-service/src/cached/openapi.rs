//! The responses of cached reads in the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Source;
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, rated, rates};
use crate::http::openapi::headers::{constant, header, required};
use crate::http::problem::Code;

/// The errors that every read may return.
pub(crate) const READ: [Code; 4] =
    [Code::RESOURCE_NOT_FOUND, Code::STORE_UNAVAILABLE, Code::OVERLOADED, Code::TIMED_OUT];

/// The responses of a read whose body has the schema `name`; `codes` are those of the domain.
pub fn shown(name: &str, example: &Value, codes: &[Code]) -> Value {
    let codes = [&TOKEN[..], codes, &READ];
    let headers = || {
        let own = [
            ("etag", header("ETag")),
            ("cache-status", header("Cache-Status")),
            ("cache-control", constant("private, no-cache")),
        ];
        own.into_iter().chain(rates())
    };
    let good = json!({
        "200": answers::json("The latest state.", name, example.clone(), headers()),
        "304": answers::empty("Not modified.", headers())
    });
    let mut more = rated(&codes);
    // Present in every 404 except for an invalid resource id.
    let schema = json!({"$ref": "#/components/headers/Cache-Status/schema"});
    let source = json!({"description": "How the service found out that there is no such resource.", "schema": schema});
    more.push((StatusCode::NOT_FOUND, "cache-status", source));
    answers(good, &codes, &more)
}

pub fn part() -> Part {
    let sources = Source::ALL.map(|source| source.parts().1);
    let headers = json!({
        "ETag": required(
            "Identifies this state. Opaque: do not parse it.",
            json!({"type": "string", "pattern": "^\"[1-9][0-9]*-[0-9T:.-]+Z\"$"})
        ),
        "Cache-Status": required(
            "Where the answer came from (RFC 9211): the cache (`hit`); PostgreSQL, and it is cached now (`stored`); \
             PostgreSQL; the query of another request (`collapsed`); PostgreSQL because the cache did not answer, \
             or does not hold this (`bypass`).",
            json!({"type": "string", "enum": sources})
        )
    });
    Part { headers, ..Part::default() }
}
