//! `GET /resource/{id}/events`: the events of a device, newest first, in pages.

mod csv;
mod cursor;
mod event;
mod fields;
mod page;

pub(super) use self::cursor::PATTERN;
pub(super) use self::fields::{MAX_FIELDS, MAX_NAMES};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use shared::devices::DeviceId;
use shared::devices::queries::{self, Cursor, Span};
use shared::runtime::rfc3339;
use tokio::time::Instant;

use self::fields::Fields;
use self::page::Form;
use super::rights::READERS;
use super::{Reads, subject};
use crate::backbone::Backbone;
use crate::cached::in_path;
use crate::http::accept::prefers;
use crate::http::parameters::Parameters;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::{in_time, within};
use crate::http::subject::About;

/// Events on a page, if the caller sets no limit.
pub(super) const DEFAULT_LIMIT: u16 = 50;
pub(super) const MAX_LIMIT: u16 = 1_000;
const JSON: &str = "application/json";

/// Responds with a page of a history. Errors: 401 and 403 before it is read, 400, 404 if there are no events, and 503
/// if it cannot be read.
pub(super) async fn show(State(Reads { backbone, .. }): State<Reads>, request: Request) -> Result<Response, Problem> {
    let deadline = backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    in_time(deadline, look(&backbone, &mut parts, deadline)).await?
}

async fn look(backbone: &Backbone, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let id: DeviceId = in_path(parts).await?;
    let query = Query::of(&parts.uri)?;

    let about = About::subject(subject(&id));
    let page = queries::history(&backbone.store, &id, query.limit, &query.span).await.map_err(|error| {
        tracing::warn!(device_id = id.as_str(), %error, "cannot read the history");
        Problem::new(Code::STORE_UNAVAILABLE, "try again later").about(about.clone())
    })?;
    // A part of a history may be empty; after a cursor, because old events expire.
    if page.items.is_empty() && query.span == Span::default() {
        return Err(Problem::new(Code::RESOURCE_NOT_FOUND, "there are no events of this resource").about(about));
    }
    let form = if prefers(&parts.headers, csv::MEDIA_TYPE, JSON) { Form::Csv } else { Form::Json };
    let mut room = backbone.answers.empty();
    let written = page::write(&id, &page, form, query.fields.as_ref(), &mut room).await;
    let (body, next) = written.map_err(|problem| problem.about(about.clone()))?;
    let bytes = body.len();
    let mut response = answer(body, form, next.map(|next| query.next(&parts.uri, next)));
    drop(page);
    // From here on only the answer is in memory.
    room.shrink(bytes);
    response.extensions_mut().insert(about);
    Ok(within(room, response).await)
}

fn answer(body: Bytes, form: Form, next: Option<String>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let media_type = if form == Form::Csv { "text/csv; charset=utf-8; header=present" } else { JSON };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    let link = next.map(|next| format!(r#"<{next}>; rel="next""#));
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        headers.insert(header::LINK, link);
    }
    response
}

#[derive(Debug)]
struct Query {
    limit: u16,
    span: Span,
    fields: Option<Fields>,
}

impl Query {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let given = Parameters::of(uri);
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        let limit = given.get("limit", "a number from 1 to 1000", limit)?.unwrap_or(DEFAULT_LIMIT);
        let before = given.get("before", "the `next` of an earlier page", cursor::read)?;
        // A plus sign that is not encoded is a blank.
        let time = |name| given.get(name, "a date and time of RFC 3339, with %2B for a plus sign", rfc3339::parse);
        let (from, to) = (time("from")?, time("to")?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::new(Code::BAD_REQUEST, "from must not be later than to"));
        }
        let fields = given.get("fields", fields::EXPECTED, Fields::parse)?;
        // The end of the time is a position, too: no event id is less.
        let end = to.map(|accepted_at| Cursor { accepted_at, event_id: String::new() });
        let place = |cursor: &Cursor| (cursor.accepted_at, cursor.event_id.clone());
        let before = before.into_iter().chain(end).min_by_key(place);
        Ok(Self { limit, span: Span { from, before }, fields })
    }

    /// The address of the next page: that of this page from a later position.
    fn next(&self, uri: &Uri, next: &Cursor) -> String {
        let next = cursor::write(next);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &self.limit.to_string()).append_pair("before", &next);
        let given = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        query.extend_pairs(given.filter(|(name, _)| ["from", "to", "fields"].contains(&&**name)));
        format!("{}?{}", uri.path(), query.finish())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::of(&format!("/resource/d/events?{text}").parse().unwrap())
    }

    #[test]
    fn the_query() {
        for (text, expected) in
            [("", 50), ("limit=1", 1), ("&limit=1000&_=7&_=8&Limit=x", 1000), ("limit=%31&before=1.a%3Ab", 1)]
        {
            assert_eq!(query(text).unwrap().limit, expected, "{text}");
        }
        for (text, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=1", "limit"),
            ("before=", "before"),
            ("before=!", "before"),
            ("from=yesterday", "from"),
            ("from=2026-01-02T03:04:05+01:00", "%2B"),
            ("to=2026-01-02", "to"),
            ("from=2026-01-02T03:04:06Z&to=2026-01-02T03:04:05Z", "from"),
            ("fields=", "fields"),
            ("fields=temp_c", "fields"),
            ("fields=/a&fields=/b", "fields"),
            ("fields=/a,/b,/a", "none twice"),
        ] {
            let problem = String::from_utf8(query(text).unwrap_err().body("r")).unwrap();
            assert!(problem.contains(name) && problem.contains("bad_request"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_time_and_a_cursor_are_positions_and_the_earlier_one_counts() {
        let at = datetime!(2026-01-02 03:04:05 UTC);
        let to = Cursor { accepted_at: at, event_id: String::new() };
        let cursor = |micros: i64| format!("{}.e", at.unix_timestamp() * 1_000_000 + micros);
        let before = |text: &str| query(text).unwrap().span.before;
        assert_eq!(before("to=2026-01-02T04:04:05%2B01:00"), Some(to.clone()));
        assert_eq!(before(&format!("to=2026-01-02T03:04:05Z&before={}", cursor(0))), Some(to.clone()));
        assert_eq!(before(&format!("to=2026-01-02T03:04:05Z&before={}", cursor(1))), Some(to));
        let earlier = cursor(-1);
        assert_eq!(before(&format!("to=2026-01-02T03:04:05Z&before={earlier}")), cursor::read(&earlier));
        assert_eq!(query("from=2026-01-02T03:04:05Z").unwrap().span, Span { from: Some(at), before: None });
    }

    #[test]
    fn the_next_page_has_what_was_asked_for() {
        let next = cursor::read("7.e").unwrap();
        let uri = "/resource/a%2Fb/events?fields=/a,/b&to=2026-01-02T04:04:05%2B01:00&before=8.e&_=1".parse().unwrap();
        assert_eq!(
            Query::of(&uri).unwrap().next(&uri, &next),
            "/resource/a%2Fb/events?limit=50&before=7.e&fields=%2Fa%2C%2Fb&to=2026-01-02T04%3A04%3A05%2B01%3A00"
        );
    }
}
