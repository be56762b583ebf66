//! The answers to commands, as they are kept with their keys.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use shared::placements::MAX_OF_VIDEO;
use shared::placements::queries::commands::{Outcome, Refused, Written};
use shared::store::idempotency::StoredAnswer;

use super::Action;
use crate::cached::tag_of;
use crate::http::idempotency::REPLAYED;
use crate::http::problem::{Code, Problem};
use crate::http::subject::About;
use crate::placements::answers::{JSON, none, of_faults, of_placement, of_video, tag};
use crate::placements::codes;
use crate::placements::paths::{PLACEMENTS, PLACEMENTS_OF_VIDEO, VALIDATIONS, VIDEOS};

/// What the log says of a command.
pub(super) fn about_of(action: &Action) -> Option<About> {
    match action {
        Action::CreateVideo(_) => None,
        Action::ChangeVideo(id, _) | Action::CreatePlacements(id, _) | Action::RequestValidation(id) => {
            Some(of_video(*id))
        }
        Action::CreatePlacement(new) => Some(of_video(new.video)),
        Action::ChangePlacement(id, _) | Action::DeletePlacement(id) => Some(of_placement(*id)),
    }
}

/// The answer to an outcome.
pub(super) fn stored(action: &Action, outcome: &Outcome, request_id: &str) -> StoredAnswer {
    match outcome {
        Ok(written) => answer(action, written),
        Err(refused) => {
            let problem = problem_of(refused);
            // It is JSON.
            let body = String::from_utf8(problem.body(request_id)).unwrap_or_default();
            StoredAnswer { status: problem.code.status().as_u16(), headers: Vec::new(), body }
        }
    }
}

fn answer(action: &Action, written: &Written) -> StoredAnswer {
    let Written { id, version, body } = written;
    let of_video = || tag_of(*version, body.as_bytes()).map(|tag| (header::ETAG, tag));
    let of_placement = || Some((header::ETAG, tag(*version)));
    let location = |path: String| Some((header::LOCATION, path));
    let (status, headers) = match action {
        Action::CreateVideo(_) => (StatusCode::CREATED, [location(format!("{VIDEOS}/{id}")), of_video()]),
        Action::ChangeVideo(..) => (StatusCode::OK, [of_video(), None]),
        Action::CreatePlacement(_) => (StatusCode::CREATED, [location(format!("{PLACEMENTS}/{id}")), of_placement()]),
        Action::CreatePlacements(video, _) => {
            let path = PLACEMENTS_OF_VIDEO.replace("{id}", &video.to_string());
            (StatusCode::CREATED, [location(path), None])
        }
        Action::ChangePlacement(..) => (StatusCode::OK, [of_placement(), None]),
        Action::DeletePlacement(_) => (StatusCode::NO_CONTENT, [None, None]),
        Action::RequestValidation(_) => {
            let retry_after = Some((header::RETRY_AFTER, "1".to_owned()));
            (StatusCode::ACCEPTED, [location(format!("{VALIDATIONS}/{id}")), retry_after])
        }
    };
    let headers = headers.into_iter().flatten().map(|(name, value)| (name.to_string(), value)).collect();
    StoredAnswer { status: status.as_u16(), headers, body: body.clone() }
}

/// The problem of a command that was refused.
pub(super) fn problem_of(refused: &Refused) -> Problem {
    match refused {
        Refused::NoVideo => none(codes::VIDEO_NOT_FOUND),
        Refused::NoPlacement => none(codes::PLACEMENT_NOT_FOUND),
        Refused::Stale => {
            let detail =
                "If-Match does not name the current ETag: read the state again (weak tags, W/\"…\", never match)";
            Problem::new(Code::PRECONDITION_FAILED, detail)
        }
        Refused::TooMany => {
            let detail = format!("a video may have up to {MAX_OF_VIDEO} placements");
            Problem::new(codes::TOO_MANY_PLACEMENTS, detail)
        }
        Refused::Faults(faults) => of_faults(faults.clone()),
    }
}

/// The response with this answer.
pub(super) fn respond(answer: &StoredAnswer, about: Option<About>) -> Response {
    let StoredAnswer { status, headers, body } = answer;
    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Body::from(body.clone())).into_response();
    let all = response.headers_mut();
    if !body.is_empty() {
        all.insert(header::CONTENT_TYPE, JSON);
    }
    all.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            all.insert(name, value);
        }
    }
    if let Some(about) = about {
        response.extensions_mut().insert(about);
    }
    response
}

/// The answer to a repeat: that of the first time, to the byte, and a header that says so.
pub(super) fn kept(answer: &StoredAnswer, about: Option<About>) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Told {
        code: String,
    }

    if answer.status < 400 {
        let mut response = respond(answer, about);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        return Ok(response);
    }
    let told = serde_json::from_str::<Told>(&answer.body).ok();
    let mut known = Code::BACKBONE.iter().chain(codes::ALL);
    let code = told.and_then(|told| known.find(|code| code.as_str() == told.code));
    Err(match code {
        Some(code) => Problem::kept(*code, answer.body.clone().into()).with_header(REPLAYED, "true"),
        None => Problem::new(Code::INTERNAL, Code::INTERNAL.title()),
    })
}

#[cfg(test)]
mod tests {
    use shared::runtime::json::Fault;

    use super::*;

    #[test]
    fn a_refusal_is_repeated_to_the_byte() {
        let video = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let action = Action::RequestValidation(video);
        let fault = Fault { pointer: "/endMs".into(), detail: "is wrong".into() };
        for refused in
            [Refused::NoVideo, Refused::NoPlacement, Refused::Stale, Refused::TooMany, Refused::Faults(vec![fault])]
        {
            let first = problem_of(&refused).write(StatusCode::OK.into_response(), "r-1");
            let answer = stored(&action, &Err(refused), "r-1");
            assert_eq!(first.status().as_u16(), answer.status);
            let again = kept(&answer, None).unwrap_err();
            let repeat = again.write(StatusCode::OK.into_response(), "r-2");
            assert_eq!((repeat.status(), repeat.headers()[REPLAYED].to_str().unwrap()), (first.status(), "true"));
            let mut headers = first.headers().clone();
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
            assert_eq!(repeat.headers(), &headers);
            let body = |response: Response| {
                use futures_util::FutureExt as _;
                use http_body_util::BodyExt as _;
                response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes()
            };
            assert_eq!(body(first), answer.body.as_bytes());
            assert_eq!(body(repeat), answer.body.as_bytes());
        }
    }

    #[test]
    fn a_success_says_where_it_is_and_which_state_it_has() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let written = |body: &str| Written { id: id.into(), version: 7, body: body.into() };
        let video = id.parse().unwrap();
        let of = |action: Action, body: &str| {
            let answer = stored(&action, &Ok(written(body)), "r");
            let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            (answer.status, headers.join("; "), kept(&answer, None).unwrap().headers().contains_key(REPLAYED))
        };
        let requested = format!("location: /validations/{id}; retry-after: 1");
        assert_eq!(of(Action::RequestValidation(video), "{}"), (202, requested, true));
        let many = format!("location: /videos/{id}/placements");
        assert_eq!(of(Action::CreatePlacements(video, vec![]), "{}"), (201, many, true));
        let body = r#"{"version":7,"updatedAt":"2026-01-02T03:04:05.678901Z"}"#;
        let changed = Action::ChangeVideo(video, Default::default());
        assert_eq!(of(changed, body), (200, "etag: \"7-2026-01-02T03:04:05.678901Z\"".into(), true));
        let placement = id.parse().unwrap();
        assert_eq!(of(Action::DeletePlacement(placement), ""), (204, String::new(), true));
        assert_eq!(of(Action::ChangePlacement(placement, Default::default()), "{}"), (200, "etag: \"7\"".into(), true));
    }
}
