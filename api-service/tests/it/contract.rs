//! The document at `/openapi.json` and the router agree.

mod examples;

use std::cell::RefCell;
use std::sync::LazyLock;

use api_service::domains::Domains;
use boon::{Compiler, Draft};
use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::app::{TestApp, admin, problem};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| Domains::all().document());

/// HTTP's own headers, of each message or of the connection, and those of CORS, which the document describes at its
/// beginning. OpenAPI declares the media type elsewhere.
const FRAMING: [&str; 8] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "vary",
];

/// The address of a part of the document for the validator. A reference is a URI, which must not contain braces.
fn address(pointer: &str) -> String {
    format!("https://api.invalid/openapi.json#{pointer}").replace('{', "%7B").replace('}', "%7D")
}

/// The schemas of the document, each compiled on first use.
struct Schemas {
    compiler: Compiler,
    compiled: boon::Schemas,
}

thread_local! {
    static SCHEMAS: RefCell<Schemas> = RefCell::new(Schemas::of(&address(""), DOCUMENT.clone()));
}

impl Schemas {
    fn of(address: &str, document: Value) -> Self {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(address.trim_end_matches('#'), document).unwrap();
        Self { compiler, compiled: boon::Schemas::new() }
    }

    /// The faults of a value. Panics if the schema itself is invalid.
    fn faults(&mut self, address: &str, value: &Value) -> Vec<String> {
        let schema = self.compiler.compile(address, &mut self.compiled).unwrap_or_else(|error| panic!("{error:#}"));
        self.compiled.validate(value, schema).err().into_iter().map(|error| format!("{error:#}")).collect()
    }
}

fn faults(pointer: &str, value: &Value) -> Vec<String> {
    assert!(DOCUMENT.pointer(pointer).is_some(), "{pointer} is not in the document");
    SCHEMAS.with_borrow_mut(|schemas| schemas.faults(&address(pointer), value))
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}"))
}

fn operations() -> Vec<(&'static str, &'static str, String)> {
    let mut all = Vec::new();
    for (path, item) in object(&DOCUMENT["paths"]) {
        for method in object(item).keys() {
            all.push((path.as_str(), method.as_str(), format!("/paths/{}/{method}", escaped(path))));
        }
    }
    all
}

fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &str| {
        let (given, parts) = (path.split('/'), template.split('/'));
        given.clone().count() == parts.clone().count()
            && given.zip(parts).all(|(given, part)| part.starts_with('{') || given == part)
    };
    object(&DOCUMENT["paths"]).keys().map(String::as_str).find(|template| fits(template))
}

/// A path with parameters that some of its operations take.
pub(crate) fn concrete(path: &str) -> String {
    let parts = [("{id}", "d"), ("{file}", "start.js"), ("{type}", "com.nedlia.video.created"), ("{version}", "1")];
    parts.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// Compares a response with the document. Every response that a test reads as a problem is checked here. The response
/// does not show the method: one operation of the path must allow it.
pub(crate) fn conforms(path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    let template = template(path);
    let all: Vec<_> = operations().into_iter().filter(|(of, ..)| Some(*of) == template).collect();
    if all.is_empty() || status == 405 {
        // No operation describes this response.
        assert!(matches!(status, 404 | 405), "{path}: {status}");
        return assert_eq!(faults("/components/schemas/Problem", &serde_json::from_slice(body).unwrap()), [""; 0]);
    }
    let found: Vec<_> = all.iter().map(|(_, _, at)| departures(at, status, headers, body)).collect();
    assert!(found.iter().any(Vec::is_empty), "{path} answers {status}: {found:#?} {headers:?}");
}

/// Status, headers and body of a response, after comparing it with the document.
pub(crate) async fn checked(response: Response) -> (u16, HeaderMap, Bytes) {
    let path = response.url().path().to_owned();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    conforms(&path, status, &headers, &body);
    (status, headers, body)
}

/// How a response differs from the document of the operation.
fn departures(operation: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let at = format!("{operation}/responses/{status}");
    let Some(answer) = DOCUMENT.pointer(&at) else { return vec![format!("{at} is not there")] };
    let mut found = Vec::new();
    let named = object(&answer["headers"]);
    for name in headers.keys().map(|name| name.as_str()).filter(|name| !FRAMING.contains(name)) {
        if !named.contains_key(name) {
            found.push(format!("{at}: the header {name} is not named"));
        }
    }
    for (name, header) in named {
        let place = match header["$ref"].as_str() {
            Some(reference) => reference[1..].to_owned(),
            None => format!("{at}/headers/{}", escaped(name)),
        };
        let header = DOCUMENT.pointer(&place).unwrap();
        match headers.get(name).map(|value| value.to_str().unwrap()) {
            Some(text) => {
                let number = text.parse::<u64>().map(Value::from);
                let value = if header["schema"]["type"] == "integer" { number.unwrap() } else { text.into() };
                found.extend(faults(&format!("{place}/schema"), &value));
            }
            None if header["required"] == true => found.push(format!("{place}: {name} is missing")),
            None => {}
        }
    }
    let media_type = headers.get("content-type").map(|value| value.to_str().unwrap().split(';').next().unwrap());
    match (media_type, answer.get("content")) {
        (None, None) => assert!(body.is_empty()),
        (Some(media_type), Some(content)) if content.get(media_type).is_some() => {
            if media_type.ends_with("json") {
                let place = format!("{at}/content/{}/schema", escaped(media_type));
                found.extend(faults(&place, &serde_json::from_slice(body).unwrap()));
            }
        }
        (media_type, _) => found.push(format!("{at}: {media_type:?} is not among its types")),
    }
    found
}

#[test]
fn the_document_is_openapi_3_1() {
    let schema: Value = serde_json::from_str(include_str!("contract/openapi-3.1.schema.json")).unwrap();
    let address = schema["$id"].as_str().unwrap().to_owned();
    assert_eq!(Schemas::of(&address, schema).faults(&address, &DOCUMENT), [""; 0]);
    // Compiling a schema validates it against the meta-schema.
    for name in object(&DOCUMENT["components"]["schemas"]).keys() {
        faults(&format!("/components/schemas/{name}"), &Value::Null);
    }
}

#[test]
fn what_the_document_does_not_say_is_found() {
    const RESOURCE: &str = "/components/schemas/Resource";
    let good = json!({"version": 1, "id": "d", "payload": {}, "event_id": "e",
        "accepted_at": "2026-01-02T03:04:05.000000Z", "updated_at": "2026-01-02T03:04:05.000000Z"});
    assert_eq!(faults(RESOURCE, &good), [""; 0]);
    for (member, bad) in [("version", json!("1")), ("payload", json!([])), ("updated_at", json!("yesterday"))] {
        let mut changed = good.clone();
        changed[member] = bad;
        let found = faults(RESOURCE, &changed);
        assert!(found.len() == 1 && found[0].contains(member), "{found:?}");
        changed.as_object_mut().unwrap().remove(member);
        assert!(faults(RESOURCE, &changed).concat().contains(member), "{member} is missing");
    }

    let headers = |names: &[&'static str]| -> HeaderMap {
        let value = |name| if name == "content-type" { "application/json" } else { "no-store" };
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static(value(*name)))).collect()
    };
    let usual = ["cache-control", "content-type", "x-request-id"];
    let departures = |headers| departures("/paths/~1health~1live/get", 200, &headers, br#"{"status":"live"}"#);
    let found = departures(headers(&[&usual[..], &["x-new"]].concat()));
    assert!(found.len() == 1 && found[0].contains("x-new is not named"), "{found:?}");
}

#[test]
fn the_operations_at_a_glance() {
    let glance: Vec<_> = operations()
        .into_iter()
        .map(|(path, method, at)| {
            let operation = DOCUMENT.pointer(&at).unwrap();
            let statuses: Vec<_> = object(&operation["responses"]).keys().map(String::as_str).collect();
            let token = match operation["security"].as_array().map(Vec::as_slice) {
                Some([token]) if *token == json!({"token": []}) => " token",
                Some([token, none]) if *token == json!({"token": []}) && *none == json!({}) => " token?",
                _ => "",
            };
            format!("{method} {path}{token}: {}", statuses.join(" "))
        })
        .collect();
    insta::assert_snapshot!(glance.join("\n"), @r"
    post /ad-events token?: 202 400 401 403 404 408 409 413 415 422 429 500 503
    post /ad-events/batch token?: 202 207 400 401 403 404 408 409 413 415 422 429 500 503
    get /asyncapi.json: 200 304 500
    get /campaigns token?: 200 400 401 403 429 500 503
    post /campaigns token?: 200 201 400 401 403 408 413 415 422 429 500 503
    get /campaigns/ token?: 200 400 401 403 429 500 503
    post /campaigns/ token?: 200 201 400 401 403 408 413 415 422 429 500 503
    get /campaigns/{id} token?: 200 401 403 404 429 500 503
    patch /campaigns/{id} token?: 200 400 401 403 404 408 409 412 413 415 422 428 429 500 503
    get /campaigns/{id}/ token?: 200 401 403 404 429 500 503
    patch /campaigns/{id}/ token?: 200 400 401 403 404 408 409 412 413 415 422 428 429 500 503
    post /campaigns/{id}/end token?: 200 401 403 404 412 429 500 503
    post /campaigns/{id}/pause token?: 200 401 403 404 409 412 429 500 503
    post /campaigns/{id}/resume token?: 200 401 403 404 409 412 429 500 503
    get /docs: 200 304 500
    get /docs/{file}: 200 304 404 500
    post /events token: 202 400 401 403 408 413 415 422 429 500 503
    post /events/ token?: 202 400 401 403 404 408 409 413 415 422 429 500 503
    post /events/batch token: 202 207 400 401 403 408 413 415 422 429 500 503
    get /health/live: 200 500
    get /health/ready: 200 500 503
    get /openapi.json: 200 304 500
    post /placements token: 201 400 401 403 404 408 409 413 415 422 429 500 503
    post /placements/check token: 200 400 401 403 404 408 413 415 422 429 500 503
    delete /placements/{id} token: 204 400 401 403 404 409 412 422 428 429 500 503
    get /placements/{id} token: 200 304 401 403 404 429 500 503
    patch /placements/{id} token: 200 400 401 403 404 408 409 412 413 415 422 428 429 500 503
    get /products token: 200 400 401 403 429 500 503
    get /products/{id} token: 200 304 401 403 404 429 500 503
    put /products/{id} token: 200 201 400 401 403 404 408 413 415 422 429 500 503
    get /report/campaign/{id} token?: 200 304 400 401 403 404 429 500 503
    get /report/campaign/{id}/ token?: 200 304 400 401 403 404 429 500 503
    get /resource/{id} token: 200 304 401 403 404 429 500 503
    get /resource/{id}/events token: 200 400 401 403 404 429 500 503
    get /resources token: 200 400 401 403 429 500 503
    post /resources/query token: 200 400 401 403 408 413 415 422 429 500 503
    get /schemas: 200 304 500
    get /schemas/{type}/{version}: 200 304 404 500
    post /validation/validate token: 200 400 401 403 404 408 413 415 422 429 500 503
    get /validations/{id} token: 200 304 401 403 404 429 500 503
    get /videos token: 200 400 401 403 429 500 503
    post /videos token: 201 400 401 403 408 409 413 415 422 429 500 503
    get /videos/{id} token: 200 304 401 403 404 429 500 503
    patch /videos/{id} token: 200 400 401 403 404 408 409 412 413 415 422 428 429 500 503
    get /videos/{id}/files/placements.json token: 200 304 401 403 404 429 500 503
    get /videos/{id}/files/placements.vtt token: 200 304 401 403 404 429 500 503
    get /videos/{id}/placements token: 200 400 401 403 404 429 500 503
    post /videos/{id}/placements token: 201 400 401 403 404 408 409 413 415 422 429 500 503
    post /videos/{id}/validations token: 202 400 401 403 404 409 422 429 500 503
    ");
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let mut references = Vec::new();
    fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| collect(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    collect(&DOCUMENT, &mut references);
    for reference in &references {
        assert!(DOCUMENT.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    for kind in ["schemas", "headers", "parameters"] {
        for name in object(&DOCUMENT["components"][kind]).keys() {
            let place = format!("#/components/{kind}/{name}");
            assert!(references.iter().any(|reference| reference.starts_with(&place)), "{place} is not used");
        }
    }
}

#[tokio::test]
async fn the_router_has_every_operation_and_no_other() {
    let app = TestApp::start("contract_routes").await;
    let mut paths: Vec<_> = object(&DOCUMENT["paths"]).keys().map(String::as_str).collect();
    paths.sort_unstable();
    let mut routes = app.paths.clone();
    routes.sort_unstable();
    assert_eq!(paths, routes);
    for path in routes {
        let concrete = concrete(path);
        let refused = app.request("BREW", &concrete).send().await.unwrap();
        let allowed = refused.headers()["allow"].to_str().unwrap().to_owned();
        assert_eq!(problem(refused).await["code"], "method_not_allowed");
        let methods = object(&DOCUMENT["paths"][path]).keys().map(|method| method.to_uppercase());
        // A route with GET also has HEAD (RFC 9110).
        let methods: Vec<_> = methods.map(|method| if method == "GET" { "GET,HEAD".into() } else { method }).collect();
        assert_eq!(methods.join(","), allowed, "{path}");
        for method in allowed.split(',') {
            let answer = app.request(method, &concrete).send().await.unwrap();
            assert!(!matches!(answer.status().as_u16(), 404 | 405), "{method} {path}: {}", answer.status());
        }
    }
    let none = problem(app.request("GET", "/openapi.yaml").send().await.unwrap()).await;
    assert_eq!(none["code"], "not_found");
}

/// One rule for all routes.
#[tokio::test]
async fn a_query_parameter_that_is_not_known_changes_nothing() {
    let app = TestApp::start("contract_query").await;
    for (path, method, _) in operations() {
        let concrete = concrete(path);
        let status = async |query: &str| {
            let request = app.request(&method.to_uppercase(), &format!("{concrete}{query}")).bearer_auth(admin());
            request.header("content-type", "application/json").send().await.unwrap().status()
        };
        let plain = status("").await;
        for query in ["?_=1767323045678", "?_=1&_=2&utm_source=x", "?access_token=x", "?", "?&&=", "?%FF=%"] {
            assert_eq!(status(query).await, plain, "{method} {path}{query}");
        }
    }
}

#[tokio::test]
async fn what_needs_a_token_says_so_and_nothing_else_needs_one() {
    let app = TestApp::start("contract_security").await;
    for (path, method, at) in operations() {
        let concrete = concrete(path);
        let answer = app.request(&method.to_uppercase(), &concrete).send().await.unwrap();
        // Without the setting that lets callers come without a token.
        let needed = DOCUMENT.pointer(&at).unwrap()["security"][0] == json!({"token": []});
        assert_eq!(answer.status() == 401, needed, "{method} {path}: {}", answer.status());
    }
}

#[test]
fn the_docs_list_every_code_as_the_code_has_it() {
    let page = include_str!("../../../docs/problems.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| status"));
    let rows: Vec<_> = rows.map(|row| row.split(" | ").take(3).collect::<Vec<_>>().join(" | ")).collect();
    let expected: Vec<_> = Domains::all()
        .codes()
        .into_iter()
        .map(|code| format!("| {} | `{}` | {}", code.status().as_u16(), code.as_str(), code.title()))
        .collect();
    assert_eq!(rows, expected);
}
