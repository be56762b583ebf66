//! `PATCH /campaigns/{id}`, and the calls that only change its status.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use shared::ads::queries::campaigns;
use shared::ads::{CampaignId, Patch, Status};
use shared::runtime::sabotage::makes;

use super::{PATCH_TYPES, actor, answer, cause, faults, tag};
use crate::ads::commands::{Commands, about, campaign_in_path};
use crate::ads::rights::{self, MANAGERS};
use crate::auth::Caller;
use crate::backbone::json_body::JsonRequest;
use crate::http::IfMatch;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget::in_time;

/// Responds with the changed campaign. Errors: those of a body before it is parsed, 404, 409, 412, 422, 428 and 503.
pub(super) async fn patch(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let call = commands.call(&PATCH_TYPES);
    let read = commands.backbone.read_json(request, call, |caller| caller.needs_any(MANAGERS)).await?;
    let JsonRequest { mut parts, caller, bytes, room: _room } = read;
    let change = async {
        let id = campaign_in_path(&mut parts).await?;
        IfMatch::required(&parts.headers).map_err(|problem| problem.logged_about(about(id)))?;
        let patch = parse(&commands, &bytes).await.map_err(|problem| problem.logged_about(about(id)))?;
        Change { commands: commands.clone(), caller, id, patch, parts }.make().await
    };
    let changed = in_time(commands.backbone.cached.deadline(), change).await;
    changed.and_then(|changed| changed).map_err(Problem::into_response)
}

async fn parse(commands: &Commands, body: &Bytes) -> Result<Patch, Problem> {
    match Patch::parse(body) {
        Ok(patch) => Ok(patch),
        Err(error) => Err(faults::of_body(&commands.backbone.store, body, error).await),
    }
}

/// Responds with the campaign in its new status; in the one that it has already, nothing changes. `If-Match` is
/// optional: these calls do not depend on what the caller has read. A body is ignored.
pub(super) async fn set_status(commands: Commands, request: Request, status: Status) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let change = async {
        let caller = commands.caller(&parts, deadline).await?;
        let id = campaign_in_path(&mut parts).await?;
        Change { commands, caller, id, patch: Patch::of_status(status), parts }.make().await
    };
    in_time(deadline, change).await?
}

struct Change {
    commands: Commands,
    caller: Arc<Caller>,
    id: CampaignId,
    patch: Patch,
    /// Of the request.
    parts: Parts,
}

impl Change {
    /// Makes the change. It runs to its end even if the client disconnects: without its fence, an older report could
    /// stay in the cache.
    async fn make(self) -> Result<Response, Problem> {
        self.commands.backbone.outbox.admit().map_err(|problem| problem.logged_about(about(self.id)))?;
        let made = tokio::spawn(self.run()).await;
        made.unwrap_or_else(|_| Err(Problem::new(Code::INTERNAL, Code::INTERNAL.title())))
    }

    async fn run(self) -> Result<Response, Problem> {
        let Self { commands, caller, id, patch, parts } = self;
        let if_match = parts.headers.contains_key(header::IF_MATCH).then(|| IfMatch::required(&parts.headers));
        let if_match = if_match.transpose()?;
        let may = |revision| if_match.is_none_or(|if_match| if_match.check(tag(revision).as_bytes()).is_ok());
        let cause = cause(&caller, &parts);
        let (store, actor) = (&commands.backbone.store, actor(&caller, &cause));
        let changed = campaigns::change(store, id, rights::viewer(&caller), &may, &patch, actor).await;
        let shown = changed.map_err(|error| faults::of_change(error).logged_about(about(id)))?;
        commands.backbone.doorbell.ring();
        // A repeat that changes nothing is fenced, too: the first one may have ended before its fence.
        if !makes("no-change-fence") {
            commands.backbone.fencer.fence(&[(id.cache_key(), shown.report_version)]).await;
        }
        let mut response = answer(StatusCode::OK, shown);
        response.extensions_mut().insert(about(id));
        Ok(response)
    }
}
