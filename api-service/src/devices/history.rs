//! `GET /resource/{id}/events`: the events of a device, newest first, in pages.

mod cursor;

pub(super) use self::cursor::PATTERN;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use shared::devices::DeviceId;
use shared::devices::queries::{self, Cursor, Page};
use tokio::time::Instant;

use super::rights::READERS;
use super::{Reads, subject};
use crate::backbone::Backbone;
use crate::cached::in_path;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::{in_time, within_budget};
use crate::http::subject::About;

/// Events on a page, if the caller sets no limit.
pub(super) const DEFAULT_LIMIT: u16 = 50;
pub(super) const MAX_LIMIT: u16 = 200;

/// Responds with a page of a history. Errors: 401 and 403 before it is read, 400, 404 if there are no events, and 503
/// if it cannot be read.
pub(super) async fn show(State(Reads { backbone, .. }): State<Reads>, request: Request) -> Result<Response, Problem> {
    let deadline = backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let answer = in_time(deadline, look(&backbone, &mut parts, deadline)).await??;
    within_budget(&backbone.answers, answer).await
}

async fn look(backbone: &Backbone, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let id: DeviceId = in_path(parts).await?;
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;

    let about = About::subject(subject(&id));
    let page = queries::history(&backbone.store, &id, query.limit, query.before.as_ref()).await.map_err(|error| {
        tracing::warn!(device_id = %id, %error, "cannot read the history");
        Problem::new(Code::STORE_UNAVAILABLE, "try again later").about(about.clone())
    })?;
    // After a cursor an empty page is valid: old events expire.
    if page.items.is_empty() && query.before.is_none() {
        return Err(Problem::new(Code::RESOURCE_NOT_FOUND, "there are no events of this resource").about(about));
    }
    let mut response = answer(&id, query.limit, &page);
    response.extensions_mut().insert(about);
    Ok(response)
}

/// Writes a page as JSON. Its events are JSON already, and stay as PostgreSQL rendered them.
fn answer(id: &DeviceId, limit: u16, page: &Page) -> Response {
    let next = page.next.as_ref().map(cursor::write);
    let length = page.items.iter().map(|item| item.len() + 1).sum::<usize>();
    let mut body = String::with_capacity(length + 256);
    body.push_str(r#"{"items":["#);
    for (place, item) in page.items.iter().enumerate() {
        body.push_str(if place == 0 { "" } else { "," });
        body.push_str(item);
    }
    // A cursor has no character that needs escaping, in JSON or in a URL.
    match &next {
        Some(next) => body.push_str(&format!(r#"],"next":"{next}"}}"#)),
        None => body.push_str(r#"],"next":null}"#),
    }
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let link = next.map(|next| format!(r#"</resource/{id}/events?limit={limit}&before={next}>; rel="next""#));
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        headers.insert(header::LINK, link);
    }
    response
}

#[derive(Debug, PartialEq, Eq)]
struct Query {
    limit: u16,
    before: Option<Cursor>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let refused = |detail: &'static str| Problem::new(Code::BAD_REQUEST, detail);
        let (mut limit, mut before) = (None, None);
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let again = match name.as_ref() {
                "limit" => {
                    let number = value.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
                    limit.replace(number.ok_or_else(|| refused("limit must be a number from 1 to 200"))?).is_some()
                }
                "before" => {
                    let cursor =
                        cursor::read(&value).ok_or_else(|| refused("before must be the `next` of an earlier page"))?;
                    before.replace(cursor).is_some()
                }
                _ => return Err(refused("the only parameters are limit and before")),
            };
            if again {
                return Err(refused("a parameter occurs more than once"));
            }
        }
        Ok(Self { limit: limit.unwrap_or(DEFAULT_LIMIT), before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query() {
        let limit = |text| Query::parse(text).map(|query| query.limit).ok();
        for (text, expected) in [("", 50), ("limit=1", 1), ("&limit=200&", 200), ("limit=%31&before=1.a%3Ab", 1)] {
            assert_eq!(limit(text), Some(expected), "{text}");
        }
        for text in
            ["limit=0", "limit=201", "limit=-1", "limit=", "limit", "limit=1&limit=1", "x=1", "before=", "before=!"]
        {
            assert_eq!(limit(text), None, "{text}");
        }
    }
}
