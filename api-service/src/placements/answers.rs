//! What the answers of this domain have in common.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use shared::kafka::ids::Key;
use shared::placements::queries::reads::Shown;
use shared::placements::{PlacementId, ProductId, ValidationId, VideoId};
use shared::runtime::json::BodyError;
use shared::store::{Class, Failure};

use super::codes;
use crate::cached::in_path;
use crate::http::is_fresh;
use crate::http::problem::{Code, Problem};
use crate::http::subject::{About, Subject, SubjectKind, subject_kind};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Longer than the longest body, with escapes.
pub(super) const MAX_BODY: usize = 64 * 1024;
const SEE_ERRORS: &str = "see errors for what is wrong with it";

/// The media types of a body, and of a change.
pub(super) const BODY_TYPES: [&str; 1] = ["application/json"];
pub(super) const PATCH_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];

static VIDEO: SubjectKind = subject_kind!(video_id);
static PLACEMENT: SubjectKind = subject_kind!(placement_id);
static PRODUCT: SubjectKind = subject_kind!(product_id);
static VALIDATION: SubjectKind = subject_kind!(validation_id);

pub(super) fn of_video(id: VideoId) -> About {
    About::subject(Subject::new(&VIDEO, id.key()))
}

pub(super) fn of_placement(id: PlacementId) -> About {
    About::subject(Subject::new(&PLACEMENT, Key::from(id.to_string())))
}

pub(super) fn of_product(id: &ProductId) -> About {
    About::subject(Subject::new(&PRODUCT, Key::from(id.as_str())))
}

pub(super) fn of_validation(id: ValidationId) -> About {
    About::subject(Subject::new(&VALIDATION, Key::from(id.to_string())))
}

/// The thing in the path; 404 with this code if it cannot be one.
pub(super) async fn id_in_path<T: std::str::FromStr<Err: std::fmt::Display>>(
    parts: &mut Parts,
    code: Code,
) -> Result<T, Problem> {
    in_path(parts).await.map_err(|_| none(code))
}

/// There is no such thing.
pub(super) fn none(code: Code) -> Problem {
    Problem::new(code, code.title())
}

/// The problem of a body that is not what the call takes.
pub(super) fn of_body(code: Code) -> impl FnOnce(BodyError) -> Problem {
    move |error| Problem::of_body(error, code, SEE_ERRORS)
}

/// The problem of a change whose result would be invalid.
pub(super) fn of_faults(faults: Vec<shared::runtime::json::Fault>) -> Problem {
    Problem::new(codes::INVALID_PLACEMENT, SEE_ERRORS).with_errors(faults)
}

/// PostgreSQL failed a read. A refused statement is a fault of this service, and would be refused again.
pub(super) fn unread(failure: &Failure) -> Problem {
    if failure.class.is_outage() || failure.class == Class::Again {
        tracing::warn!(error = %failure, "cannot read");
        return Problem::new(Code::STORE_UNAVAILABLE, "try again later");
    }
    tracing::error!(error = %failure, "cannot read");
    Problem::new(Code::INTERNAL, Code::INTERNAL.title())
}

/// JSON that is read anew for each request.
pub(super) fn json(body: String) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// A thing with its version as its entity tag, or 304.
pub(super) fn shown(shown: Shown, headers: &HeaderMap, about: About) -> Response {
    let tag = tag(shown.version);
    let mut response = if is_fresh(headers, tag.as_bytes()) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        response
    } else {
        json(shown.body)
    };
    if let Ok(tag) = HeaderValue::from_maybe_shared(Bytes::from(tag)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.extensions_mut().insert(about);
    response
}

/// The entity tag of a placement or a product.
pub(super) fn tag(version: i64) -> String {
    format!("\"{version}\"")
}
