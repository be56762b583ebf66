//! The operations that do not depend on a domain, the page and this document, and the headers used everywhere.

use serde_json::{Value, json};

use super::answers::{self, answers, empty, parameters, with_content};
use super::headers::{self, constant, header};
use super::{Part, schemas};
use crate::http::problem::Code;
use crate::http::{asyncapi, docs, schemas as registry};

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

/// The headers that all files of the documentation share.
fn cached() -> Vec<(&'static str, Value)> {
    vec![
        ("etag", header("Document-ETag")),
        ("cache-control", constant(docs::CACHE_CONTROL)),
        ("x-content-type-options", constant("nosniff")),
    ]
}

/// An operation that responds with a file, or with 304 and these headers.
fn operation(
    [tag, id]: [&str; 2],
    summary: &str,
    own: &[Value],
    found: Value,
    headers: Vec<(&'static str, Value)>,
    codes: &[Code],
) -> Value {
    let parameters = [own, &parameters(["If-None-Match", "X-Request-Id"])].concat();
    json!({
        "operationId": id,
        "tags": [tag],
        "summary": summary,
        "security": [],
        "parameters": parameters,
        "responses": answers(json!({
            "200": found,
            "304": empty("Not modified.", headers)
        }), &[codes, &[Code::INTERNAL]], &[])
    })
}

fn document_operation() -> Value {
    let content = json!({
        "application/json": {"schema": {"type": "object", "required": ["openapi", "info", "paths", "components"]}}
    });
    let packed = ("content-encoding", header("Content-Encoding"));
    let found = with_content("OpenAPI 3.1.", content, cached().into_iter().chain([packed]));
    operation(["documentation", "document"], "This document", &[], found, cached(), &[])
}

fn page_operation() -> Value {
    let own = [("content-security-policy", constant(docs::POLICY)), ("referrer-policy", constant("no-referrer"))];
    let headers = [cached(), own.to_vec()].concat();
    let content = json!({"text/html": {"schema": {"type": "string"}}});
    let found = with_content("Swagger UI.", content, headers.clone());
    operation(["documentation", "page"], "A page to read this document and to try the calls", &[], found, headers, &[])
}

fn file_operation() -> Value {
    let name = json!({
        "in": "path", "name": "file", "required": true,
        "schema": {"type": "string", "enum": docs::FILES.each_ref().map(|file| file.name)}
    });
    let content = json!({
        "text/javascript": {"schema": {"type": "string"}},
        "text/css": {"schema": {"type": "string"}},
        "text/markdown": {"schema": {"type": "string"}}
    });
    let packed = ("content-encoding", json!({"schema": {"type": "string", "const": "gzip"}}));
    let found = with_content("The file.", content, cached().into_iter().chain([packed]));
    operation(
        ["documentation", "file"],
        "The files of the page, and `events`: each type of event, who publishes it and who consumes it",
        &[name],
        found,
        cached(),
        &[Code::NOT_FOUND],
    )
}

/// The operations on the registry of schemas.
pub fn schemas_part() -> Part {
    let listed = json!({
        "type": {"type": "string", "description": "CloudEvents `type`."},
        "version": {"type": "integer", "minimum": 1},
        "uri": {"type": "string", "description": "The path of the schema; CloudEvents `dataschema`."},
        "publisher": {"type": "string", "description": "The domain that publishes such events."},
        "stream": {"type": "string", "description": "The stream on which they are published."}
    });
    let required = ["type", "version", "uri", "publisher", "stream"];
    Part {
        tags: vec![("schemas", "The types of the events that are published")],
        paths: json!({
            registry::SCHEMAS: {"get": schemas_operation()},
            registry::SCHEMA: {"get": schema_operation()},
            asyncapi::DOCUMENT: {"get": asyncapi_operation()}
        }),
        schemas: json!({
            "EventSchemas": schemas::object(&["schemas"], json!({
                "schemas": {"type": "array", "items": schemas::schema("EventSchema")}
            })),
            "EventSchema": schemas::object(&required, listed)
        }),
        ..Part::default()
    }
}

fn schemas_operation() -> Value {
    let example = json!({"schemas": [{
        "type": "com.example.thing.created", "version": 1, "uri": "/schemas/com.example.thing.created/1",
        "publisher": "things", "stream": "thing-events"
    }]});
    let found = answers::json("The types, with their versions.", "EventSchemas", example, cached());
    let summary = "Lists the schemas of the events that are published";
    operation(["schemas", "listSchemas"], summary, &[], found, cached(), &[])
}

fn asyncapi_operation() -> Value {
    let content = json!({
        "application/json": {"schema": {"type": "object", "required": ["asyncapi", "info", "channels", "operations"]}}
    });
    let found = with_content("AsyncAPI 3.0.", content, cached());
    let summary = "The events that are published, as AsyncAPI";
    operation(["schemas", "asyncapi"], summary, &[], found, cached(), &[])
}

fn schema_operation() -> Value {
    let parameter = |name: &str, schema: Value| json!({"in": "path", "name": name, "required": true, "schema": schema});
    let own = [
        parameter("type", json!({"type": "string"})),
        parameter("version", json!({"type": "integer", "minimum": 1, "maximum": u16::MAX})),
    ];
    let headers = || {
        let usual = cached().into_iter().filter(|(name, _)| *name != "cache-control");
        usual.chain([("cache-control", constant(registry::IMMUTABLE))]).collect::<Vec<_>>()
    };
    let content = json!({registry::MEDIA_TYPE: {"schema": {"type": "object"}}});
    let found = with_content(
        "JSON Schema, as consumers use it: members that it does not have are allowed. A version never changes.",
        content,
        headers(),
    );
    let summary = "A schema of an event's data";
    operation(["schemas", "showSchema"], summary, &own, found, headers(), &[Code::NOT_FOUND])
}
