//! What HTTP has whatever it carries: the page and this document, and the headers that are everywhere.

use serde_json::{Value, json};

use super::answers::{answers, empty, parameters, with_content};
use super::headers::{self, constant, header, parameter};
use super::{Part, schemas};
use crate::http::docs;
use crate::http::problem::Code;

pub fn part() -> Part {
    Part {
        tags: vec![("documentation", "This document")],
        paths: json!({
            docs::DOCUMENT: {"get": document_operation()},
            docs::PAGE: {"get": page_operation()},
            docs::FILE: {"get": file_operation()}
        }),
        schemas: schemas::all(),
        headers: headers::all(),
        parameters: headers::parameters(),
        ..Part::default()
    }
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
            "200": with_content("OpenAPI 3.1.", content, cached()),
            "304": empty("Not modified.", cached())
        }), &[&[Code::INTERNAL]], &[])
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
        "summary": "A page to read this document and to try the calls",
        "security": [],
        "parameters": parameters(["If-None-Match", "X-Request-Id"]),
        "responses": answers(json!({
            "200": with_content("Swagger UI.", content, headers()),
            "304": empty("Not modified.", headers())
        }), &[&[Code::INTERNAL]], &[])
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
        "summary": "The files of the page",
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
            "200": with_content("The file.", content, cached().chain([packed])),
            "304": empty("Not modified.", cached())
        }), &[&[Code::NOT_FOUND, Code::INTERNAL]], &[])
    })
}
