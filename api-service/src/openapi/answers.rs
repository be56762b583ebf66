//! Answers: those of success, and a problem for each status that an operation's codes have.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::headers::{constant, header};
use super::schemas::schema;
use crate::problem::{Code, Problem};

/// The request of the examples.
pub(super) const REQUEST_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn usual() -> Map<String, Value> {
    Map::from_iter([("x-request-id".to_owned(), header("X-Request-Id"))])
}

/// What an answer has past the token, where a rate is set.
pub(super) fn rates() -> [(&'static str, Value); 2] {
    [("ratelimit", header("RateLimit")), ("ratelimit-policy", header("RateLimit-Policy"))]
}

pub(super) fn json(
    description: &str,
    name: &str,
    example: Value,
    headers: impl IntoIterator<Item = (&'static str, Value)>,
) -> Value {
    let content = json!({"application/json": {"schema": schema(name), "example": example}});
    with_content(description, content, headers)
}

pub(super) fn with_content(
    description: &str,
    content: Value,
    headers: impl IntoIterator<Item = (&'static str, Value)>,
) -> Value {
    let mut answer = empty(description, headers);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("content".into(), content);
    }
    answer
}

pub(super) fn empty(description: &str, headers: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut all = usual();
    all.extend(headers.into_iter().map(|(name, header)| (name.to_owned(), header)));
    json!({"description": description, "headers": all})
}

/// The problems with these codes, by status. Headers `more` are in those of the status behind them.
pub(super) fn problems(codes: &[Code], more: &[(StatusCode, &'static str, Value)]) -> Map<String, Value> {
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| {
            let mut headers = vec![("cache-control", constant("no-store"))];
            // Of one status, all codes ask for the same.
            if let Some(challenge) = codes.iter().find_map(|code| code.challenge()) {
                headers.push(("www-authenticate", constant(challenge)));
            }
            if codes.contains(&Code::UnsupportedEncoding) {
                headers.push(("accept-encoding", header("Accept-Encoding")));
            }
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                headers.push(("retry-after", header("Retry-After")));
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
