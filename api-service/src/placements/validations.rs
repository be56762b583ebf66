//! Validations: an editor asks for one, and reads its report when it is done; a request may be held until then.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use shared::placements::queries::load_validations;
use shared::placements::{PlacementEventType, ValidationId, VideoId};
use tokio::time::Instant;

use super::answers::{JSON, id_in_path, none, of_validation, unread};
use super::codes::VALIDATION_NOT_FOUND;
use super::command::{Action, Commands};
use super::paths::{VALIDATION, VALIDATIONS_OF_VIDEO};
use super::rights::{EDITORS, READERS};
use super::videos::video_in_path;
use crate::backbone::tail::Interest;
use crate::cached::{Found, tag_of};
use crate::http::prefer::{self, PREFERENCE_APPLIED};
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::within_budget;
use crate::http::{Route, is_fresh};

/// For how long a request is held at most, in seconds.
pub(super) const MAX_WAIT: u64 = 30;
/// The member before which `stale` stands: whether the video has changed does not depend on the validation.
const BEHIND_STALE: &str = r#","requestedAt":"#;

pub(super) fn routes(commands: &Commands) -> Vec<Route> {
    let requests = post(request_one).with_state(commands.clone());
    vec![(VALIDATIONS_OF_VIDEO, requests), (VALIDATION, get(show).with_state(commands.clone()))]
}

/// Asks for a validation of a video. Errors: 401 and 403 before anything is read, those of a command, and 404.
async fn request_one(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let caller = commands.backbone.reader(&parts, deadline, |caller| caller.needs_any(EDITORS)).await?;
    let video = video_in_path(&mut parts).await?;
    commands.carry_out_bare(parts, caller, Action::RequestValidation(video)).await
}

/// Responds with a validation; with `Prefer: wait` when it is done, or after that many seconds. Errors: 401 and 403 before
/// it is read, 404, and 503.
async fn show(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let backbone = &commands.backbone;
    let (arrived, deadline) = (Instant::now(), backbone.cached.deadline());
    let (mut parts, _) = request.into_parts();
    backbone.reader(&parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let id: ValidationId = id_in_path(&mut parts, VALIDATION_NOT_FOUND).await?;
    let logged = |problem: Problem| problem.logged_about(of_validation(id));
    let found = backbone.cached.find(&id.cache_key(), deadline).await.map_err(logged)?;
    let mut found = Validation::of(found.ok_or_else(|| logged(none(VALIDATION_NOT_FOUND)))?).map_err(logged)?;
    let mut applied = None;
    if let Some(seconds) = wait(&parts.headers) {
        let is_held = found.is_finished() || {
            let until = arrived + Duration::from_secs(seconds);
            commands.hold(id, &mut found, until).await.map_err(logged)?
        };
        applied = is_held.then_some(seconds);
    }
    let is_stale = commands.is_stale(&found).await.map_err(logged)?;
    let mut response = answer(&found, is_stale, &parts.headers);
    if let Some(applied) = applied.and_then(|seconds| HeaderValue::try_from(format!("wait={seconds}")).ok()) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response.extensions_mut().insert(of_validation(id));
    within_budget(&backbone.answers, response).await
}

/// For how many seconds the caller would like to wait.
fn wait(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = prefer::value(headers, "wait")?.parse().ok()?;
    (seconds > 0).then_some(seconds.min(MAX_WAIT))
}

/// A validation, and what of its body decides here.
struct Validation {
    found: Found,
    told: Told,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    video_id: String,
    revision: i64,
    finished_at: Option<String>,
}

impl Validation {
    fn of(found: Found) -> Result<Self, Problem> {
        let told = serde_json::from_slice(&found.body).map_err(|error| {
            tracing::error!(%error, "the body of a validation");
            Problem::new(Code::INTERNAL, Code::INTERNAL.title())
        })?;
        Ok(Self { found, told })
    }

    fn is_finished(&self) -> bool {
        self.told.finished_at.is_some()
    }
}

impl Commands {
    /// Holds a request until the validation is done, or this time; whether it was held.
    async fn hold(&self, id: ValidationId, validation: &mut Validation, until: Instant) -> Result<bool, Problem> {
        let subject: Arc<str> = validation.told.video_id.as_str().into();
        let interest = Interest { event_type: PlacementEventType::ValidationCompleted.as_str(), subject };
        // From now on its event wakes the request, so that it is read once more first.
        let Some(held) = self.tail.hold(interest) else { return Ok(false) };
        loop {
            // Past the cache, which may be fenced a moment after the event.
            let loaded = load_validations(&self.backbone.store, &[id.cache_key().id().clone()]).await;
            let loaded = loaded.map_err(|failure| unread(&failure))?.pop();
            let loaded = loaded.ok_or_else(|| none(VALIDATION_NOT_FOUND))?;
            // It was not from the cache.
            let source = HeaderValue::from_static("resource-cache; fwd=bypass");
            let found = Found { version: loaded.version, body: loaded.body.into(), source };
            *validation = Validation::of(found)?;
            if validation.is_finished() || Instant::now() >= until || !held.wait(until).await {
                return Ok(true);
            }
        }
    }

    /// Whether a validation that is done is of an older revision than the one that its video has.
    async fn is_stale(&self, validation: &Validation) -> Result<bool, Problem> {
        #[derive(Deserialize)]
        struct Video {
            revision: i64,
        }

        if !validation.is_finished() {
            return Ok(false);
        }
        let Ok(video) = validation.told.video_id.parse::<VideoId>() else { return Ok(false) };
        let cached = &self.backbone.cached;
        let found = cached.find(&video.cache_key(), cached.deadline()).await?;
        let video = found.and_then(|found| serde_json::from_slice::<Video>(&found.body).ok());
        Ok(video.is_some_and(|video| video.revision > validation.told.revision))
    }
}

fn answer(validation: &Validation, is_stale: bool, headers: &HeaderMap) -> Response {
    let Found { version, body, source } = &validation.found;
    // The tag is of the whole answer.
    let end = if is_stale { "-stale\"" } else { "\"" };
    let tag = tag_of(*version, body).map(|tag| format!("{}{end}", tag.trim_end_matches('"')));
    let is_fresh = is_fresh(headers, tag.as_deref().unwrap_or_default().as_bytes());
    let mut response = if is_fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = with_stale(body, is_stale).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    };
    let all = response.headers_mut();
    if let Some(tag) = tag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
        all.insert(header::ETAG, tag);
    }
    all.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    all.insert("cache-status", source.clone());
    if !validation.is_finished() {
        all.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A body with the member `stale`. No text within a body has its place's quotes unescaped.
fn with_stale(body: &Bytes, is_stale: bool) -> Bytes {
    let place = body.windows(BEHIND_STALE.len()).rposition(|part| part == BEHIND_STALE.as_bytes());
    match place.and_then(|place| body.split_at_checked(place)) {
        Some((before, behind)) => [before, format!(r#","stale":{is_stale}"#).as_bytes(), behind].concat().into(),
        None => body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"version":4,"id":"a","videoId":"v","status":"succeeded","revision":2,"findings":[{"detail":"x,\"requestedAt\":"}],"requestedAt":"2026-01-02T03:04:05.000000Z","finishedAt":"2026-01-02T03:04:06.000000Z","updatedAt":"2026-01-02T03:04:06.000000Z"}"#;

    fn validation(body: &'static str) -> Validation {
        let source = HeaderValue::from_static("resource-cache; hit");
        Validation::of(Found { version: 4, body: Bytes::from_static(body.as_bytes()), source }).unwrap()
    }

    #[test]
    fn whether_it_is_stale_is_a_part_of_the_answer_and_of_its_tag() {
        let body: serde_json::Value = serde_json::from_slice(&with_stale(&BODY.into(), true)).unwrap();
        assert_eq!((&body["stale"], &body["findings"][0]["detail"]), (&true.into(), &r#"x,"requestedAt":"#.into()));
        let tag = |is_stale| answer(&validation(BODY), is_stale, &HeaderMap::new()).headers()["etag"].clone();
        assert_eq!(tag(false), "\"4-2026-01-02T03:04:06.000000Z\"");
        assert_eq!(tag(true), "\"4-2026-01-02T03:04:06.000000Z-stale\"");
        let known: HeaderMap = [(header::IF_NONE_MATCH, tag(false))].into_iter().collect();
        let status = |is_stale| answer(&validation(BODY), is_stale, &known).status().as_u16();
        assert_eq!((status(false), status(true)), (304, 200), "it has become stale");
    }

    #[test]
    fn one_that_is_not_done_says_when_to_ask_again() {
        let queued = r#"{"version":4,"id":"a","videoId":"v","status":"queued","revision":2,"requestedAt":"2026-01-02T03:04:05.000000Z","finishedAt":null,"updatedAt":"2026-01-02T03:04:05.000000Z"}"#;
        let later = |body| answer(&validation(body), false, &HeaderMap::new()).headers().get("retry-after").cloned();
        assert_eq!((later(queued), later(BODY)), (Some(HeaderValue::from_static("1")), None));
    }

    #[test]
    fn a_caller_says_how_long_it_would_wait() {
        let wait =
            |value: &'static str| wait(&[(prefer::PREFER, HeaderValue::from_static(value))].into_iter().collect());
        for (value, expected) in [
            ("wait=20", Some(20)),
            ("respond-async, wait=1", Some(1)),
            ("wait=\"30\"", Some(30)),
            ("wait=31", Some(30)),
            ("wait=0", None),
            ("wait", None),
            ("wait=-1", None),
            ("wait=x", None),
            ("handling=strict", None),
        ] {
            assert_eq!(wait(value), expected, "{value}");
        }
    }
}
