//! `POST /placements/check`: what a validation would find in a placement that is not made yet. The service that validates
//! is asked, if its address is set, and this instance judges by itself otherwise. Nothing is written.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::client::{self, Peer, PeerConfig, PeerError};
use shared::placements::NewPlacement;
use shared::runtime::json::json;
use tokio::time::Instant;

use super::answers::{self, BODY_TYPES, none, of_body, of_video};
use super::codes::{INVALID_PLACEMENT, VALIDATION_UNAVAILABLE, VIDEO_NOT_FOUND};
use super::command::Commands;
use super::config::CheckConfig;
use super::paths::{CHECK, VALIDATE};
use super::validation::{Asked, Judge, text};
use crate::backbone::Backbone;
use crate::backbone::json_body::JsonRequest;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::{in_time, within_budget};
use crate::http::{Route, correlation};

/// The name of the service that validates, in metrics and the log.
const PEER: &str = "validation";

pub(super) fn describe() {
    client::describe(PEER);
}

#[derive(Clone)]
struct Check {
    commands: Commands,
    judge: Arc<Judging>,
}

/// Who judges.
enum Judging {
    Here(Judge),
    There(Peer),
}

pub(super) fn routes(config: &CheckConfig, commands: &Commands) -> anyhow::Result<Vec<Route>> {
    let backbone = &commands.backbone;
    let judging = match config.validation_url.as_deref() {
        None => Judging::Here(Judge::new(backbone.store.clone())),
        Some(url) => Judging::There(peer(url, config.validation_timeout, backbone)?),
    };
    let check = Check { commands: commands.clone(), judge: Arc::new(judging) };
    Ok(vec![(CHECK, post(answer).with_state(check))])
}

fn peer(url: &str, timeout: Duration, backbone: &Backbone) -> anyhow::Result<Peer> {
    let internal = backbone.internal.clone();
    let internal = internal.context("VALIDATION_URL needs INTERNAL_JWT_SECRET: the service takes no other tokens")?;
    let bearer = Box::new(move || internal.sign());
    Peer::new(PeerConfig { name: PEER, setting: "VALIDATION_URL", url, timeout, bearer })
}

/// Responds with what would be found. Errors: those of a body before it is parsed, 404, 422, and 503.
async fn answer(State(Check { commands, judge }): State<Check>, request: Request) -> Result<Response, Response> {
    let read = commands.read(request, &BODY_TYPES).await?;
    // A body may arrive slowly, and has a time of its own.
    let deadline = commands.backbone.cached.deadline();
    let answering = async {
        let draft = NewPlacement::parse(&read.bytes).map_err(of_body(INVALID_PLACEMENT))?;
        let about = of_video(draft.video);
        let found = in_time(deadline, judge.found(draft, &read, deadline)).await.flatten();
        let mut response = answers::json(found.map_err(|problem| problem.logged_about(about.clone()))?);
        response.extensions_mut().insert(about);
        within_budget(&commands.backbone.answers, response).await
    };
    answering.await.map_err(Problem::into_response)
}

impl Judging {
    /// The findings and the revision, as JSON.
    async fn found(&self, draft: NewPlacement, read: &JsonRequest, deadline: Instant) -> Result<String, Problem> {
        match self {
            Self::Here(judge) => text(&judge.report(Asked::Draft(Box::new(draft))).await?),
            Self::There(peer) => text(&ask(peer, read, deadline).await?),
        }
    }
}

/// A call of the service.
#[derive(Serialize)]
struct Call<'a> {
    draft: &'a RawValue,
}

/// Its answer. The service may know findings that this one does not.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    findings: Vec<Finding>,
    revision: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    code: String,
    severity: String,
    placement_ids: Vec<Option<String>>,
    detail: String,
}

async fn ask(peer: &Peer, read: &JsonRequest, deadline: Instant) -> Result<Found, Problem> {
    // It has been parsed before.
    let draft = json(&read.bytes).map_err(|error| {
        tracing::error!(%error, "a draft cannot be passed on");
        Problem::new(Code::INTERNAL, Code::INTERNAL.title())
    })?;
    let cause = correlation::cause(&read.parts, Some(&read.caller.subject));
    peer.post(VALIDATE, &Call { draft }, &cause, deadline).await.map_err(|error| problem_of(&error))
}

fn problem_of(error: &PeerError) -> Problem {
    #[derive(Deserialize)]
    struct Told {
        code: String,
    }

    if let PeerError::Refused { status, body } = error {
        let told = serde_json::from_slice::<Told>(body).map(|told| told.code).unwrap_or_default();
        if *status == VIDEO_NOT_FOUND.status().as_u16() && told == VIDEO_NOT_FOUND.as_str() {
            return none(VIDEO_NOT_FOUND);
        }
        // A token that it does not take, or a version that does not fit.
        tracing::error!(status, code = told, "the service that validates refuses a call");
    } else {
        tracing::warn!(%error, "the service that validates was not asked, or did not answer");
    }
    Problem::new(VALIDATION_UNAVAILABLE, "the service that validates does not answer: try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: PeerError) -> Code {
        problem_of(&error).code
    }

    #[test]
    fn only_that_there_is_no_video_is_the_callers_fault() {
        let refused = |status, body: &'static str| PeerError::Refused { status, body: body.into() };
        assert_eq!(code(refused(404, r#"{"status":404,"code":"video_not_found"}"#)), VIDEO_NOT_FOUND);
        for error in [
            // Of a server that has no such path.
            refused(404, r#"{"code":"not_found"}"#),
            refused(404, "<html>"),
            refused(401, r#"{"code":"invalid_token"}"#),
            refused(422, r#"{"code":"video_not_found"}"#),
            PeerError::Unavailable("it answered 503".to_owned()),
            PeerError::Broken("it answered 500".to_owned()),
        ] {
            assert_eq!(code(error.clone()), VALIDATION_UNAVAILABLE, "{error:?}");
        }
    }

    #[test]
    fn a_finding_that_is_not_known_here_is_passed_on() {
        let told = r#"{"findings":[{"code":"too_loud","severity":"hint","placementIds":[null,"a"],"detail":"d"}],"revision":7}"#;
        let found: Found = serde_json::from_str(told).unwrap();
        assert_eq!(serde_json::to_string(&found).unwrap(), told);
    }
}
