//! `GET /resources`: the ids of the resources, with their versions and times, in pages.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use shared::devices::DeviceId;
use shared::devices::queries::{self, Listing};
use tokio::time::Instant;

use super::rights::READERS;
use super::{RESOURCES, Reads};
use crate::backbone::Backbone;
use crate::http::parameters::Parameters;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::{in_time, within_budget};

/// Resources on a page, if the caller sets no limit.
pub(super) const DEFAULT_LIMIT: u16 = 100;
pub(super) const MAX_LIMIT: u16 = 1_000;

/// Responds with a page of a list. Errors: 401 and 403 before it is read, 400, and 503 if it cannot be read.
pub(super) async fn show(State(Reads { backbone, .. }): State<Reads>, request: Request) -> Result<Response, Problem> {
    let deadline = backbone.cached.deadline();
    let (parts, _) = request.into_parts();
    let answer = in_time(deadline, look(&backbone, &parts, deadline)).await??;
    within_budget(&backbone.answers, answer).await
}

async fn look(backbone: &Backbone, parts: &Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let query = Query::of(&Parameters::of(&parts.uri))?;
    let page = queries::list(&backbone.store, &query.prefix, &query.after, query.limit).await.map_err(|error| {
        tracing::warn!(%error, "cannot list the resources");
        Problem::new(Code::STORE_UNAVAILABLE, "try again later")
    })?;
    Ok(answer(&query, page))
}

/// Writes a page as JSON. Its items are JSON already.
fn answer(query: &Query, Listing { items, next }: Listing) -> Response {
    // Serializing a string cannot fail.
    let told = serde_json::to_string(&next).unwrap_or_default();
    let mut response = format!(r#"{{"items":[{}],"next":{told}}}"#, items.join(",")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let link = next.map(|next| {
        let mut query_string = form_urlencoded::Serializer::new(String::new());
        if !query.prefix.is_empty() {
            query_string.append_pair("prefix", &query.prefix);
        }
        query_string.append_pair("after", &next).append_pair("limit", &query.limit.to_string());
        format!(r#"<{RESOURCES}?{}>; rel="next""#, query_string.finish())
    });
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        headers.insert(header::LINK, link);
    }
    response
}

#[derive(Debug, PartialEq, Eq)]
struct Query {
    prefix: String,
    after: String,
    limit: u16,
}

impl Query {
    fn of(given: &Parameters<'_>) -> Result<Self, Problem> {
        let id = |name| {
            let part = |text: &str| part_of_id(text).then(|| text.to_owned());
            given.get(name, "up to 128 printable ASCII characters", part)
        };
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        Ok(Self {
            prefix: id("prefix")?.unwrap_or_default(),
            after: id("after")?.unwrap_or_default(),
            limit: given.get("limit", "a number from 1 to 1000", limit)?.unwrap_or(DEFAULT_LIMIT),
        })
    }
}

/// Whether an id may begin with this text, which may be empty.
fn part_of_id(text: &str) -> bool {
    text.len() <= DeviceId::MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query() {
        let query = |text: &str| Query::of(&Parameters::of(&format!("/resources?{text}").parse().unwrap()));
        let own = |prefix: &str, after: &str, limit| Query { prefix: prefix.into(), after: after.into(), limit };
        for (text, expected) in [
            ("", own("", "", 100)),
            ("prefix=&after=&_=1", own("", "", 100)),
            ("prefix=a%2Fb+c&after=a%7e&limit=1000", own("a/b c", "a~", 1000)),
        ] {
            assert_eq!(query(text).unwrap(), expected, "{text}");
        }
        let long = "x".repeat(129);
        for (text, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("prefix=%C3%A4", "prefix"),
            ("prefix=%00", "prefix"),
            ("prefix=a&prefix=a", "prefix"),
            ("after=%7F", "after"),
            (&*format!("after={long}"), "after"),
        ] {
            let problem = String::from_utf8(query(text).unwrap_err().body("r")).unwrap();
            assert!(problem.contains(name) && problem.contains("bad_request"), "{text}: {problem}");
        }
    }

    #[test]
    fn the_next_page_has_an_address() {
        let listing = Listing { items: vec!["{}".into(), "{}".into()], next: Some(r#"a"/ü+b"#.into()) };
        let response = answer(&Query { prefix: "a\"".into(), after: String::new(), limit: 2 }, listing);
        let link = "</resources?prefix=a%22&after=a%22%2F%C3%BC%2Bb&limit=2>; rel=\"next\"";
        assert_eq!(response.headers()[header::LINK], link);
        let last = answer(
            &Query { prefix: String::new(), after: String::new(), limit: 2 },
            Listing { items: vec![], next: None },
        );
        assert!(!last.headers().contains_key(header::LINK));
    }
}
