//! `POST /validation/validate`: the validation as a service of its own, for other services. It judges a video as it is, or
//! a new placement in it, and writes nothing. It is a domain of its own, so that an instance may serve nothing else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use clap::Args;
use shared::client::{EXPECTED, expected};
use shared::placements::queries::subscribers::{snapshot, snapshot_with};
use shared::placements::validate::{Report, validate, validate_draft};
use shared::placements::{NewPlacement, VideoId};
use shared::runtime::json::members::{Members, parsed};
use shared::runtime::json::{BodyError, json};
use shared::store::Store;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answers::{self, BODY_TYPES, MAX_BODY, none, of_body, of_video, unread};
use super::codes::{INVALID_VALIDATION, OF_VALIDATION, VIDEO_NOT_FOUND};
use super::openapi;
use super::paths::VALIDATE;
use super::rights::EDITORS;
use crate::auth::{Caller, ClaimPaths};
use crate::backbone::json_body::{JsonCall, JsonRequest};
use crate::backbone::{Backbone, Domain, Served};
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;
use crate::http::response_budget::{in_time, within_budget};

/// How many videos are judged at once: one with as many placements as it may have takes some megabytes.
const AT_ONCE: usize = 8;
/// A draft may be as long as for its own call.
const MAX_CALL: usize = 2 * MAX_BODY;
const MEMBERS: [&str; 2] = ["videoId", "draft"];

pub const DOMAIN: Domain = Domain {
    name: "validation",
    roles: EDITORS,
    codes: OF_VALIDATION,
    kinds: &[],
    published: &[],
    openapi: openapi::of_validation,
    describe: || {},
};

/// It has no settings.
#[derive(Debug, Clone, Args)]
pub struct ValidationConfig {}

/// No claim binds a token to videos.
pub fn claims(_: &ValidationConfig) -> Vec<(&'static str, ClaimPaths)> {
    Vec::new()
}

pub fn serve(_: &ValidationConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Served> {
    let service = Service { backbone: Arc::clone(backbone), judge: Judge::new(backbone.store.clone()) };
    Ok(Served { routes: vec![(VALIDATE, post(answer).with_state(service))], ..Served::default() })
}

#[derive(Clone)]
struct Service {
    backbone: Arc<Backbone>,
    judge: Judge,
}

/// Responds with the findings. Errors: 401 and 403 before anything is read, those of a body, 404, 422, and 503.
async fn answer(State(Service { backbone, judge }): State<Service>, request: Request) -> Result<Response, Response> {
    // Its caller counts from the beginning.
    let theirs = expected_by(request.headers());
    let services = backbone.internal.as_deref();
    // Callers of services were charged there.
    let cost = (Kind::Reads, u32::from(services.is_none()));
    let call = JsonCall { types: &BODY_TYPES, limit: MAX_CALL, cost, anonymous: None, services };
    let may = |caller: &Caller| if services.is_some() { Ok(()) } else { caller.needs_any(EDITORS) };
    let JsonRequest { bytes, room: _room, .. } = backbone.read_json(request, call, may).await?;
    // A body may arrive slowly, and has a time of its own.
    let deadline = due(theirs, backbone.cached.deadline());
    let answering = async {
        let asked = Asked::parse(&bytes).map_err(of_body(INVALID_VALIDATION))?;
        let about = of_video(asked.video());
        let report = in_time(deadline, judge.report(asked)).await;
        let report = report.flatten().map_err(|problem| problem.logged_about(about.clone()))?;
        let mut response = answers::json(text(&report)?);
        response.extensions_mut().insert(about);
        within_budget(&backbone.answers, response).await
    };
    answering.await.map_err(Problem::into_response)
}

/// Until when the caller of a request that has just come waits for its answer, if it says so.
fn expected_by(headers: &HeaderMap) -> Option<Instant> {
    let mut all = headers.get_all(EXPECTED).iter();
    let only = all.next().filter(|_| all.next().is_none())?;
    Instant::now().checked_add(expected(only.as_bytes())?)
}

/// When the answer is due: the caller may not wait for as long as this service would.
fn due(theirs: Option<Instant>, own: Instant) -> Instant {
    theirs.map_or(own, |theirs| theirs.min(own))
}

/// A report as JSON.
pub(super) fn text(report: &impl serde::Serialize) -> Result<String, Problem> {
    serde_json::to_string(report).map_err(|error| {
        tracing::error!(%error, "a report cannot be written");
        Problem::new(Code::INTERNAL, Code::INTERNAL.title())
    })
}

/// What is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// A video as it is.
    Video(VideoId),
    /// A placement that is not made yet.
    Draft(Box<NewPlacement>),
}

impl Asked {
    pub(super) fn video(&self) -> VideoId {
        match self {
            Self::Video(video) => *video,
            Self::Draft(draft) => draft.video,
        }
    }

    /// `{"videoId": …}` or `{"draft": …}`.
    fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let other = |_: &str| Some("is not a field of this call".to_owned());
        let mut members = Members::of(json(body)?, "", &MEMBERS, other)?;
        let video = members.optional("videoId", parsed);
        let draft = members.given("draft");
        match (members.given("videoId").is_some(), draft) {
            (true, Some(_)) => members.fault("draft", "must not be there together with videoId"),
            (false, None) => members.fault("videoId", "is required, or draft"),
            _ => {}
        }
        let draft = match draft.map(|draft| NewPlacement::parse_value(draft, None)) {
            None => None,
            Some(Ok(draft)) => Some(draft),
            Some(Err(BodyError::NotAnEvent(faults))) => {
                members.faults_below("draft", faults);
                None
            }
            Some(Err(error)) => return Err(error),
        };
        match (video, draft) {
            (Some(video), None) if members.are_sound() => Ok(Self::Video(video)),
            (None, Some(draft)) if members.are_sound() => Ok(Self::Draft(Box::new(draft))),
            _ => Err(BodyError::NotAnEvent(members.into_faults())),
        }
    }
}

/// Judges videos by what PostgreSQL has now.
#[derive(Clone)]
pub(super) struct Judge {
    store: Store,
    places: Arc<Semaphore>,
}

impl Judge {
    pub(super) fn new(store: Store) -> Self {
        Self { store, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The findings. Errors: 404 without such a video, and 503.
    pub(super) async fn report(&self, asked: Asked) -> Result<Report, Problem> {
        // Held until the video is judged, even if the caller goes away.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let found = match &asked {
            Asked::Video(video) => snapshot(&self.store, *video).await,
            Asked::Draft(draft) => snapshot_with(&self.store, draft).await,
        };
        let found = found.map_err(|failure| unread(&failure))?.ok_or_else(|| none(VIDEO_NOT_FOUND))?;
        let judging = tokio::task::spawn_blocking(move || {
            let report = match &asked {
                Asked::Video(_) => validate(&found),
                Asked::Draft(draft) => validate_draft(&found, draft),
            };
            drop(place);
            report
        });
        // The panic is in the log.
        judging.await.map_err(|_| Problem::new(Code::INTERNAL, Code::INTERNAL.title()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn asked(body: &str) -> Result<Asked, Vec<String>> {
        Asked::parse(&Bytes::copy_from_slice(body.as_bytes())).map_err(|error| match error {
            BodyError::NotAnEvent(faults) => {
                faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
            }
            BodyError::NotJson(why) => vec![why],
        })
    }

    #[test]
    fn a_video_is_judged_or_a_draft() {
        let video = VIDEO.parse().unwrap();
        assert_eq!(asked(&format!(r#"{{"videoId":"{VIDEO}","draft":null}}"#)), Ok(Asked::Video(video)));
        let draft = format!(r#"{{"videoId":"{VIDEO}","productId":"mug","startMs":0,"endMs":1}}"#);
        let read = asked(&format!(r#"{{"draft":{draft}}}"#)).unwrap();
        assert_eq!(read.video(), video);
        assert!(matches!(&read, Asked::Draft(draft) if draft.product.as_str() == "mug"), "{read:?}");
        for (body, fault) in [
            ("{}".to_owned(), "/videoId is required, or draft"),
            (r#"{"videoId":null}"#.to_owned(), "/videoId is required, or draft"),
            (r#"{"videoId":"x"}"#.to_owned(), "/videoId must be a UUID, such as"),
            (format!(r#"{{"videoId":"{VIDEO}","draft":{draft}}}"#), "/draft must not be there together with videoId"),
            (format!(r#"{{"draft":{draft},"more":1}}"#), "/more is not a field of this call"),
            (r#"{"draft":{"productId":"mug","startMs":0,"endMs":1}}"#.to_owned(), "/draft/videoId is required"),
            (r#"{"draft":[]}"#.to_owned(), "/draft must be a JSON object"),
            ("[]".to_owned(), " must be a JSON object"),
        ] {
            let faults = asked(&body).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(fault), "{body}: {faults:?}");
        }
    }

    #[test]
    fn an_answer_is_due_when_its_caller_expects_it_and_never_later_than_usual() {
        let own = Instant::now() + Duration::from_secs(10);
        let with = |values: &[&'static str]| {
            let headers = values.iter().map(|value| {
                let name = axum::http::HeaderName::from_static(EXPECTED);
                (name, axum::http::HeaderValue::from_static(value))
            });
            due(expected_by(&headers.collect()), own)
        };
        let theirs = with(&["2000"]);
        let latest = Instant::now() + Duration::from_secs(2);
        assert!(theirs <= latest && theirs > latest - Duration::from_secs(1), "{theirs:?}");
        for usual in [&[][..], &["20000"], &["soon"], &["0"], &["1", "1"], &["18446744073709551615"]] {
            assert_eq!(with(usual), own, "{usual:?}");
        }
    }
}
