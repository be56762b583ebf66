//! Responses: the successful ones, and a problem for each status of an operation's codes.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::headers::{constant, described, header, parameter};
use super::schemas::schema;
use crate::http::problem::{Code, Problem};

/// The request id in the examples.
pub(crate) const REQUEST_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The errors that every call with a token may return.
pub(crate) const TOKEN: [Code; 5] =
    [Code::INVALID_TOKEN, Code::FORBIDDEN, Code::RATE_LIMITED, Code::INTERNAL, Code::KEYS_UNAVAILABLE];

/// The headers of every response after authentication, if a rate limit is set.
pub(crate) fn rates() -> [(&'static str, Value); 2] {
    [("ratelimit", header("RateLimit")), ("ratelimit-policy", header("RateLimit-Policy"))]
}

/// The `Retry-After` of a conflict that ends by itself.
fn header_if_known() -> Value {
    json!({
        "description": "If waiting helps: after how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 1}
    })
}

/// The security of an operation: a token, or with `is_anonymous` also none, where the settings allow that.
pub(crate) fn security(is_anonymous: bool) -> Value {
    if is_anonymous { json!([{"token": []}, {}]) } else { json!([{"token": []}]) }
}

pub(crate) fn json(
    description: &str,
    name: &str,
    example: Value,
    headers: impl IntoIterator<Item = (&'static str, Value)>,
) -> Value {
    let content = json!({"application/json": {"schema": schema(name), "example": example}});
    with_content(description, content, headers)
}

pub(crate) fn with_content(
    description: &str,
    content: Value,
    headers: impl IntoIterator<Item = (&'static str, Value)>,
) -> Value {
    json!({"description": description, "headers": with_usual(headers), "content": content})
}

pub(crate) fn empty(description: &str, headers: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    json!({"description": description, "headers": with_usual(headers)})
}

fn with_usual(headers: impl IntoIterator<Item = (&'static str, Value)>) -> BTreeMap<&'static str, Value> {
    headers.into_iter().chain([("x-request-id", header("X-Request-Id"))]).collect()
}

/// The problems with these codes, by status. `more` lists additional headers with their status.
pub(crate) fn problems(codes: &[Code], more: &[(StatusCode, &'static str, Value)]) -> Map<String, Value> {
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| {
            let mut headers = vec![("cache-control", constant("no-store"))];
            // All codes of one status have the same challenge.
            if let Some(challenge) = codes.iter().find_map(|code| code.challenge()) {
                let header =
                    if status == StatusCode::UNAUTHORIZED { described(challenge) } else { constant(challenge) };
                headers.push(("www-authenticate", header));
            }
            if codes.contains(&Code::UNSUPPORTED_ENCODING) {
                headers.push(("accept-encoding", header("Accept-Encoding")));
            }
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                headers.push(("retry-after", header("Retry-After")));
            } else if status == StatusCode::CONFLICT {
                headers.push(("retry-after", header_if_known()));
            }
            let more = more.iter().filter(|(of, ..)| *of == status);
            headers.extend(more.map(|(_, name, header)| (*name, header.clone())));
            (status.as_u16().to_string(), problem(status, &codes, headers))
        })
        .collect()
}

fn problem(status: StatusCode, codes: &[Code], headers: Vec<(&'static str, Value)>) -> Value {
    let titles: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            let body = Problem::new(*code, code.title()).body(REQUEST_ID);
            let example: Value = serde_json::from_slice(&body).unwrap_or_default();
            (code.as_str().to_owned(), json!({"value": example}))
        })
        .collect();
    let content = json!({
        "application/problem+json": {
            "schema": {
                "allOf": [schema("Problem")],
                "properties": {"status": {"const": status.as_u16()}, "code": {"enum": codes}}
            },
            "examples": examples
        }
    });
    with_content(&titles.join("; "), content, headers)
}

pub(crate) fn parameters(names: impl IntoIterator<Item = &'static str>) -> Vec<Value> {
    names.into_iter().map(parameter).collect()
}

/// All responses of an operation: the `good` ones, and the problems with these codes.
pub(crate) fn answers(good: Value, codes: &[&[Code]], more: &[(StatusCode, &'static str, Value)]) -> Value {
    let mut all = problems(&codes.concat(), more);
    if let Value::Object(good) = good {
        all.extend(good);
    }
    Value::Object(all)
}

/// The rate headers, for every status of a problem that may come after the rate limit.
pub(crate) fn rated(codes: &[&[Code]]) -> Vec<(StatusCode, &'static str, Value)> {
    let mut statuses: BTreeSet<_> = codes.concat().iter().map(|code| code.status()).collect();
    statuses.remove(&StatusCode::UNAUTHORIZED);
    statuses.into_iter().flat_map(|status| rates().map(|(name, header)| (status, name, header))).collect()
}
