//! Commands: each is done once for its key, runs to its end even if its client disconnects, and is answered when its rows
//! and its events are committed.

mod written;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use shared::placements::queries::commands::{self, Call, Done, Outcome, Render};
use shared::placements::{NewPlacement, NewVideo, PlacementId, PlacementPatch, VideoId, VideoPatch};
use shared::store::idempotency::{self, Begun, StoredAnswer};
use shared::store::{Class, Failure, Store};
use time::OffsetDateTime;
use tokio::time::timeout_at;

use self::written::{about_of, kept, problem_of, respond, stored};
use super::answers::{MAX_BODY, of_video, unread};
use super::rights::EDITORS;
use crate::auth::Caller;
use crate::backbone::Backbone;
use crate::backbone::json_body::{JsonCall, JsonRequest};
use crate::backbone::tail::Tail;
use crate::http::idempotency::RequestKey;
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;
use crate::http::response_budget::in_time;
use crate::http::subject::About;
use crate::http::{IfMatch, correlation, request_id};

/// How often a transaction that met another one is tried.
const TRIES: usize = 3;

#[derive(Clone)]
pub(super) struct Commands {
    pub(super) backbone: Arc<Backbone>,
    /// Holds requests until events of this domain come.
    pub(super) tail: Arc<Tail>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    CreateVideo(NewVideo),
    ChangeVideo(VideoId, VideoPatch),
    CreatePlacement(NewPlacement),
    CreatePlacements(VideoId, Vec<NewPlacement>),
    ChangePlacement(PlacementId, PlacementPatch),
    DeletePlacement(PlacementId),
    RequestValidation(VideoId),
}

impl Commands {
    /// Reads a command with a body of one of these media types.
    pub(super) async fn read(&self, request: Request, types: &'static [&'static str]) -> Result<JsonRequest, Response> {
        let call = JsonCall { types, limit: MAX_BODY, cost: (Kind::Reads, 1), anonymous: None, services: None };
        self.backbone.read_json(request, call, |caller| caller.needs_any(EDITORS)).await
    }

    /// Carries out a command with a body, and answers it.
    pub(super) async fn carry_out(
        &self,
        read: JsonRequest,
        action: Result<Action, Problem>,
    ) -> Result<Response, Response> {
        let JsonRequest { parts, caller, bytes, room: _room } = read;
        let done = match action {
            Ok(action) => self.command(parts, caller, &bytes, action).await,
            Err(problem) => Err(problem),
        };
        done.map_err(Problem::into_response)
    }

    /// Carries out a command without a body, and answers it.
    pub(super) async fn carry_out_bare(
        &self,
        parts: Parts,
        caller: Arc<Caller>,
        action: Action,
    ) -> Result<Response, Problem> {
        self.command(parts, caller, b"", action).await
    }

    async fn command(
        &self,
        parts: Parts,
        caller: Arc<Caller>,
        body: &[u8],
        action: Action,
    ) -> Result<Response, Problem> {
        let about = about_of(&action);
        let logged = |problem: Problem| match &about {
            Some(about) => problem.logged_about(about.clone()),
            None => problem,
        };
        let key = RequestKey::of(&parts, body).map_err(logged)?;
        let name = action.name();
        let done = if let Err(full) = self.backbone.outbox.admit() {
            // A repeat publishes nothing.
            self.repeat(key.as_ref(), &caller, about.clone()).await.unwrap_or(Err(full))
        } else {
            self.run(Command { backbone: Arc::clone(&self.backbone), parts, caller, key, action }).await
        };
        let outcome = match &done {
            Ok(_) => "done",
            Err(problem) if problem.code == Code::OUTCOME_UNKNOWN => "unknown",
            Err(problem) if problem.code.status().is_client_error() => "refused",
            Err(_) => "failed",
        };
        metrics::counter!("commands_total", "command" => name, "outcome" => outcome).increment(1);
        done.map_err(logged)
    }

    async fn run(&self, command: Command) -> Result<Response, Problem> {
        let has_key = command.key.is_some();
        let run = tokio::spawn(command.run());
        match timeout_at(self.backbone.cached.deadline(), run).await {
            Ok(Ok(done)) => done,
            // It panicked: its transaction was rolled back, or it had ended.
            Ok(Err(_)) => Err(Problem::new(Code::INTERNAL, Code::INTERNAL.title())),
            Err(_) => Err(unknown(has_key)),
        }
    }

    /// Answers a command whose key is known; `None` if it is not, or if there is no key.
    async fn repeat(
        &self,
        key: Option<&RequestKey>,
        caller: &Caller,
        about: Option<About>,
    ) -> Option<Result<Response, Problem>> {
        let key = key?.of_caller(&caller.subject);
        let known = in_time(self.backbone.cached.deadline(), idempotency::known(&self.backbone.store, &key)).await;
        match known.and_then(|known| known.map_err(|failure| unread(&failure))) {
            Ok(Some(Begun::Replay(answer))) => Some(replay(&answer, about)),
            Ok(Some(Begun::Reused)) => Some(Err(reused())),
            Ok(Some(Begun::New | Begun::InProgress) | None) => None,
            Err(problem) => Some(Err(problem)),
        }
    }
}

fn replay(answer: &StoredAnswer, about: Option<About>) -> Result<Response, Problem> {
    metrics::counter!("idempotent_replays_total").increment(1);
    kept(answer, about)
}

fn reused() -> Problem {
    let detail = "Idempotency-Key was used for another request: take a new key for each command";
    Problem::new(Code::KEY_REUSED, detail)
}

struct Command {
    backbone: Arc<Backbone>,
    parts: Parts,
    caller: Arc<Caller>,
    key: Option<RequestKey>,
    action: Action,
}

impl Command {
    async fn run(self) -> Result<Response, Problem> {
        let Self { backbone, parts, caller, key, action } = self;
        let call = Call {
            key: key.as_ref().map(|key| key.of_caller(&caller.subject)),
            cause: correlation::cause(&parts, Some(&caller.subject)),
            now: now(),
        };
        let request_id = request_id::text(parts.extensions.get());
        let render = |outcome: &Outcome| stored(&action, outcome, request_id);
        let done = decided(&backbone.store, &call, &action, &parts.headers, &render).await;
        match done.map_err(|failure| unfinished(&failure, key.is_some()))? {
            Done::Decided { outcome, answer, fences } => {
                // Without its fences, older states could stay in the cache.
                backbone.fencer.fence(&fences).await;
                if !fences.is_empty() {
                    backbone.doorbell.ring();
                }
                match outcome {
                    // Only a new video has had no id until now.
                    Ok(written) => {
                        let about = about_of(&action).or_else(|| written.id.parse().ok().map(of_video));
                        Ok(respond(&answer, about))
                    }
                    // Written with this request's id, it is the answer that was kept.
                    Err(refused) => Err(problem_of(&refused)),
                }
            }
            Done::Replay(answer) => replay(&answer, about_of(&action)),
            Done::KeyReused => Err(reused()),
            Done::InProgress => {
                let detail = "the first request with this Idempotency-Key is still under way: try again later";
                Err(Problem::new(Code::KEY_IN_PROGRESS, detail).retry_after(1))
            }
        }
    }
}

/// Does it, again if another transaction got in its way: then nothing has changed.
async fn decided(
    store: &Store,
    call: &Call<'_>,
    action: &Action,
    headers: &HeaderMap,
    render: Render<'_>,
) -> Result<Done, Failure> {
    let mut tries = 1;
    loop {
        match action.decide(store, call, headers, render).await {
            Err(failure) if failure.class == Class::Again && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

impl Action {
    /// Its name in the metrics.
    const fn name(&self) -> &'static str {
        match self {
            Self::CreateVideo(_) => "create_video",
            Self::ChangeVideo(..) => "change_video",
            Self::CreatePlacement(_) => "create_placement",
            Self::CreatePlacements(..) => "create_placements",
            Self::ChangePlacement(..) => "change_placement",
            Self::DeletePlacement(_) => "delete_placement",
            Self::RequestValidation(_) => "request_validation",
        }
    }

    async fn decide(
        &self,
        store: &Store,
        call: &Call<'_>,
        headers: &HeaderMap,
        render: Render<'_>,
    ) -> Result<Done, Failure> {
        // A change without the header was refused before.
        let named = |names: &dyn Fn(&[u8]) -> bool| IfMatch::required(headers).is_ok_and(|it| it.names_any(names));
        let is_version = |version: i64| named(&|tag| tag == version.to_string().as_bytes());
        let is_content = |(revision, version): (i64, i64)| {
            named(&|tag| version_of(tag).is_some_and(|named| (revision..=version).contains(&named)))
        };
        match self {
            Self::CreateVideo(new) => commands::create_video(store, call, new, render).await,
            Self::ChangeVideo(id, patch) => commands::patch_video(store, call, *id, &is_content, patch, render).await,
            Self::CreatePlacement(new) => commands::create_placement(store, call, new.clone(), render).await,
            Self::CreatePlacements(video, new) => {
                commands::create_placements(store, call, *video, new.clone(), render).await
            }
            Self::ChangePlacement(id, patch) => {
                commands::patch_placement(store, call, *id, &is_version, patch, render).await
            }
            Self::DeletePlacement(id) => commands::delete_placement(store, call, *id, &is_version, render).await,
            Self::RequestValidation(video) => commands::request_validation(store, call, *video, render).await,
        }
    }
}

/// The version in the entity tag of a video, which changes when its files get ready, too: then nothing has changed that
/// an editor could overwrite.
fn version_of(tag: &[u8]) -> Option<i64> {
    let digits = tag.split(|byte| *byte == b'-').next()?;
    let version: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (version.to_string().as_bytes() == digits).then_some(version)
}

/// The time, in microseconds as PostgreSQL has it.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
}

/// The problem of a command that PostgreSQL failed.
fn unfinished(failure: &Failure, has_key: bool) -> Problem {
    if failure.is_lock_timeout() {
        tracing::warn!(error = %failure, "a command waited in vain for another one");
        let detail = "another command takes too long, and nothing was done: try again later";
        return Problem::new(Code::STORE_UNAVAILABLE, detail);
    }
    match failure.class {
        Class::Outage | Class::Again => {
            tracing::warn!(error = %failure, "cannot begin a command");
            Problem::new(Code::STORE_UNAVAILABLE, "nothing was done: try again later")
        }
        Class::OutageMet => {
            tracing::warn!(error = %failure, "it is not known whether a command was done");
            unknown(has_key)
        }
        Class::Poison | Class::Failed | Class::Panicked => {
            tracing::error!(error = %failure, "cannot do a command");
            Problem::new(Code::INTERNAL, Code::INTERNAL.title())
        }
    }
}

fn unknown(has_key: bool) -> Problem {
    let detail = if has_key {
        "the command may have been done: send it again with the same Idempotency-Key"
    } else {
        "the command may have been done: read the state before you send it again, and send an Idempotency-Key"
    };
    Problem::new(Code::OUTCOME_UNKNOWN, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_the_tag_of_a_video() {
        for (tag, expected) in [
            ("7-2026-01-02T03:04:05.678901Z", Some(7)),
            ("7", Some(7)),
            ("07-2026", None),
            ("+7-2026", None),
            ("-7", None),
            ("", None),
            ("x-7", None),
        ] {
            assert_eq!(version_of(tag.as_bytes()), expected, "{tag}");
        }
    }

    #[test]
    fn the_class_of_a_failure_decides_what_a_caller_is_told() {
        let code = |failure: Failure| unfinished(&failure, true).code;
        assert_eq!(code(Failure::away("a")), Code::STORE_UNAVAILABLE);
        assert_eq!(code(Failure::again("b")), Code::STORE_UNAVAILABLE);
        assert_eq!(code(Failure::outage("c")), Code::OUTCOME_UNKNOWN);
        assert_eq!(code(Failure::outage("SQLSTATE 55P03: lock timeout")), Code::STORE_UNAVAILABLE);
        assert_eq!(code(Failure::outage("SQLSTATE 57014: statement timeout")), Code::OUTCOME_UNKNOWN);
        assert_eq!(code(Failure::failed("d")), Code::INTERNAL);
        assert_eq!(code(Failure::poison("e")), Code::INTERNAL);
    }
}
