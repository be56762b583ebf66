//! Every error response: RFC 9457 `application/problem+json`, with a stable `code`.
//!
//! A handler returns a [`Problem`]. [`observe`](super::observe) writes it, because only there the request id is known,
//! and turns the framework's own errors into problems too.

mod extensions;

use std::borrow::Cow;
use std::ops::Deref;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use shared::kafka::ids::EventId;
use shared::runtime::json::{BodyError, Fault};

pub use self::extensions::Extension;
use self::extensions::Extensions;
use super::subject::About;

/// The kind of an error: a status, and a name by which clients decide; a name never changes its meaning. Those below
/// are the backbone's; a domain declares its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    is_rule: bool,
}

macro_rules! codes {
    ($($code:ident: $status:ident, $name:literal, $title:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $code: Self = Self::new(StatusCode::$status, $name, $title);)*

            pub const BACKBONE: &[Self] = &[$(Self::$code),*];
        }
    };
}

codes! {
    BAD_REQUEST: BAD_REQUEST, "bad_request", "The request cannot be read";
    NOT_JSON: BAD_REQUEST, "not_json", "The body is not JSON";
    INVALID_TOKEN: UNAUTHORIZED, "invalid_token", "No valid token";
    FORBIDDEN: FORBIDDEN, "forbidden", "The token does not allow this";
    NOT_FOUND: NOT_FOUND, "not_found", "No such path";
    RESOURCE_NOT_FOUND: NOT_FOUND, "resource_not_found", "There is no such resource";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed";
    REQUEST_TIMEOUT: REQUEST_TIMEOUT, "request_timeout", "The request did not arrive in time";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large";
    TOO_MANY_EVENTS: PAYLOAD_TOO_LARGE, "too_many_events", "The batch has too many events";
    TOO_MANY_IDS: PAYLOAD_TOO_LARGE, "too_many_ids", "The query has too many ids";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type";
    UNSUPPORTED_ENCODING: UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "Unsupported content encoding";
    KEY_IN_PROGRESS: CONFLICT, "key_in_progress", "The first request with this key is not done yet";
    PRECONDITION_FAILED: PRECONDITION_FAILED, "precondition_failed", "The state has changed since it was read";
    INVALID_EVENT: UNPROCESSABLE_ENTITY, "invalid_event", "The body is not a valid event";
    INVALID_QUERY: UNPROCESSABLE_ENTITY, "invalid_query", "The body is not a valid query";
    KEY_REUSED: UNPROCESSABLE_ENTITY, "key_reused", "The key was used for another request";
    PRECONDITION_REQUIRED: PRECONDITION_REQUIRED, "precondition_required", "The request must have If-Match";
    RATE_LIMITED: TOO_MANY_REQUESTS, "rate_limited", "Rate limit exceeded";
    RETRY_LATER: TOO_MANY_REQUESTS, "retry_later", "Events of the batch may be accepted later";
    INTERNAL: INTERNAL_SERVER_ERROR, "internal", "Internal error";
    QUEUE_FULL: SERVICE_UNAVAILABLE, "queue_full", "The queue for Kafka is full";
    TOPIC_MISSING: SERVICE_UNAVAILABLE, "topic_missing", "The events topic does not exist";
    SHUTTING_DOWN: SERVICE_UNAVAILABLE, "shutting_down", "This instance is shutting down";
    OVERLOADED: SERVICE_UNAVAILABLE, "overloaded", "Server overloaded";
    OUTCOME_UNKNOWN: SERVICE_UNAVAILABLE, "outcome_unknown", "It is not known whether the event was written";
    OUTBOX_FULL: SERVICE_UNAVAILABLE, "outbox_full", "Too many events wait to be published";
    STORE_UNAVAILABLE: SERVICE_UNAVAILABLE, "store_unavailable", "The resource cannot be read now";
    TIMED_OUT: SERVICE_UNAVAILABLE, "timed_out", "The request timed out";
    KEYS_UNAVAILABLE: SERVICE_UNAVAILABLE, "keys_unavailable", "The token cannot be verified now";
}

impl Code {
    /// A code with its status, its name in responses, and its general meaning.
    pub const fn new(status: StatusCode, name: &'static str, title: &'static str) -> Self {
        Self { status, name, title, is_rule: false }
    }

    /// The same for what a domain refuses as a rule, and so as often as it accepts: that is no error, and has a log line
    /// only if an accepted request had one.
    pub const fn as_a_rule(self) -> Self {
        Self { is_rule: true, ..self }
    }

    pub(crate) const fn is_rule(self) -> bool {
        self.is_rule
    }

    pub const fn status(self) -> StatusCode {
        self.status
    }

    /// The name in responses and in the log.
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    pub const fn title(self) -> &'static str {
        self.title
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3).
    pub(crate) const fn challenge(self) -> Option<&'static str> {
        match self.status {
            StatusCode::UNAUTHORIZED => Some(r#"Bearer error="invalid_token""#),
            StatusCode::FORBIDDEN => Some(r#"Bearer error="insufficient_scope""#),
            _ => None,
        }
    }

    /// The code for an error of the framework.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED => Self::METHOD_NOT_ALLOWED,
            StatusCode::REQUEST_TIMEOUT => Self::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BODY_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::TOO_MANY_REQUESTS => Self::RATE_LIMITED,
            StatusCode::SERVICE_UNAVAILABLE => Self::TIMED_OUT,
            status if status.is_client_error() => Self::BAD_REQUEST,
            _ => Self::INTERNAL,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// An error response. Boxed, because nearly every `Result` of a request has space for one.
#[must_use]
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
pub struct Parts {
    pub code: Code,
    detail: Cow<'static, str>,
    members: Extensions,
    errors: Vec<Fault>,
    pub about: About,
    /// Whether the response has the `event_id`, so that the caller can send the event again.
    event_is_told: bool,
    pub(crate) retry_after: Option<u32>,
    /// The event can never be accepted, although there is a `Retry-After`.
    pub(crate) is_final: bool,
    header: Option<(HeaderName, &'static str)>,
    /// The result of each event of a batch, as JSON.
    items: Option<Box<RawValue>>,
    /// The whole body, if it was kept: that of an earlier request.
    kept: Option<Bytes>,
}

impl Deref for Problem {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(flatten)]
    members: &'a Extensions,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<&'a RawValue>,
}

impl Problem {
    /// A problem with a text for the caller. The text must not contain internals.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        // Every 429 and every 503 may be retried.
        let may_be_retried = matches!(code.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let retry_after = may_be_retried.then_some(1);
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            members: Extensions::default(),
            errors: Vec::new(),
            about: About::default(),
            event_is_told: false,
            retry_after,
            is_final: false,
            header: None,
            items: None,
            kept: None,
        }))
    }

    /// The problem that an earlier request got, with the body that was kept.
    pub(crate) fn kept(code: Code, body: Bytes) -> Self {
        let mut problem = Self::new(code, code.title());
        problem.0.kept = Some(body);
        problem
    }

    /// The problem for an error of the framework.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = Code::of_status(status);
        Self::new(code, code.title())
    }

    /// The problem for a body that is not JSON, or, with this code, not what the call takes.
    pub fn of_body(error: BodyError, code: Code, detail: &'static str) -> Self {
        match error {
            BodyError::NotJson(why) => Self::new(Code::NOT_JSON, format!("the body is not JSON: {why}")),
            BodyError::NotAnEvent(faults) => Self::new(code, detail).with_errors(faults),
        }
    }

    /// Adds an extension member (RFC 9457, section 3.2) that clients may decide by. Its name must be none of those that
    /// every problem may have.
    pub fn with_member(mut self, name: &'static str, value: impl Into<Extension>) -> Self {
        self.0.members.0.push((name, value.into()));
        self
    }

    /// Adds the faults of the body, each with its position.
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Adds the result of each event of a batch, as JSON.
    pub fn with_items(mut self, items: Option<Box<RawValue>>) -> Self {
        self.0.items = items;
        self
    }

    /// Adds the subject and the event id for the log; the response has the `event_id`, too.
    pub fn about(mut self, about: About) -> Self {
        self.0.event_is_told = true;
        self.logged_about(about)
    }

    /// Adds the subject and the event id, as far as they could be read, for the log only.
    pub fn logged_about(mut self, about: About) -> Self {
        self.0.about = about;
        self
    }

    /// Sets `Retry-After`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Says that this event can never be accepted as what it is: after `Retry-After` it would be another one.
    pub fn for_good(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    /// Adds a header to the response.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.header = Some((name, value));
        self
    }

    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let Code { status, name: code, title, .. } = self.code;
        let body = Body {
            kind: format!("/problems/{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            members: &self.members,
            request_id,
            event_id: self.about.event_id.as_ref().filter(|_| self.event_is_told).map(EventId::as_str),
            errors: &self.errors,
            items: self.items.as_deref(),
        };
        // Serializing strings and numbers cannot fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The value of `WWW-Authenticate`; a 401 has its detail there, too, for clients that do not read the body.
    fn challenge(&self) -> Option<HeaderValue> {
        let challenge = self.code.challenge()?;
        let described = (self.code.status == StatusCode::UNAUTHORIZED).then(|| {
            // RFC 6750, section 3: printable ASCII without quotes and backslashes.
            let is_allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
            let detail: String = self.detail.chars().map(|c| if is_allowed(c) { c } else { '\'' }).collect();
            format!("{challenge}, error_description=\"{detail}\"")
        });
        let described = described.and_then(|described| HeaderValue::try_from(described).ok());
        Some(described.unwrap_or(HeaderValue::from_static(challenge)))
    }

    /// Writes the problem as the response, and keeps the headers that are set already.
    pub(crate) fn write(&self, response: Response, request_id: &str) -> Response {
        let text = self.kept.clone().unwrap_or_else(|| self.body(request_id).into());
        let (mut parts, _) = response.into_parts();
        parts.status = self.code.status();
        // The framework set it for its own body.
        parts.headers.remove(header::CONTENT_LENGTH);
        let headers = &mut parts.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some((name, value)) = &self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        Response::from_parts(parts, text.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_is_described_in_its_challenge_in_the_characters_that_rfc_6750_allows() {
        let written = |problem: Problem| problem.write(StatusCode::OK.into_response(), "id").headers().clone();
        let headers = written(Problem::new(Code::INVALID_TOKEN, "the `iss` must be \"ä\\\", or none\n"));
        let expected = r#"Bearer error="invalid_token", error_description="the `iss` must be '''', or none'""#;
        assert_eq!(headers[header::WWW_AUTHENTICATE], expected);
        let headers = written(Problem::new(Code::FORBIDDEN, "no role"));
        assert_eq!(headers[header::WWW_AUTHENTICATE], r#"Bearer error="insufficient_scope""#);
        assert!(!written(Problem::new(Code::NOT_FOUND, "x")).contains_key(header::WWW_AUTHENTICATE));
    }

    #[test]
    fn extension_members_follow_the_code() {
        let problem = Problem::new(Code::PRECONDITION_FAILED, "x").with_member("scope", "day").with_member("least", 7);
        let body = String::from_utf8(problem.with_member("spent", "0.02".to_owned()).body("r")).unwrap();
        let end = r#""code":"precondition_failed","scope":"day","least":7,"spent":"0.02","request_id":"r"}"#;
        assert!(body.ends_with(end), "{body}");
        let usual = String::from_utf8(Problem::new(Code::NOT_FOUND, "x").body("r")).unwrap();
        assert!(usual.ends_with(r#""code":"not_found","request_id":"r"}"#), "{usual}");
    }

    #[test]
    fn a_body_is_no_json_or_breaks_rules() {
        let fault = Fault { pointer: "/name".into(), detail: "is required".into() };
        let faulty = Problem::of_body(BodyError::NotAnEvent(vec![fault.clone()]), Code::INVALID_QUERY, "see errors");
        assert_eq!((faulty.code, &*faulty.errors), (Code::INVALID_QUERY, &[fault][..]));
        let no_json = Problem::of_body(BodyError::NotJson("EOF".into()), Code::INVALID_QUERY, "see errors");
        assert_eq!((no_json.code, &*no_json.detail), (Code::NOT_JSON, "the body is not JSON: EOF"));
    }

    #[test]
    fn what_the_framework_rejects_has_a_code_of_its_own_status() {
        for status in [404, 405, 408, 413, 415, 400, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Code::of_status(status).status(), status);
        }
        assert_eq!(Code::of_status(StatusCode::IM_A_TEAPOT), Code::BAD_REQUEST);
        assert_eq!(Code::of_status(StatusCode::BAD_GATEWAY), Code::INTERNAL);
    }
}
