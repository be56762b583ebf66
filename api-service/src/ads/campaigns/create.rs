//! `POST /campaigns`: creates a campaign.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use shared::ads::Terms;
use shared::ads::queries::campaigns;
use shared::kafka::Cause;

use super::{CAMPAIGNS, actor, answer, cause, faults, id_of};
use crate::ads::commands::{Commands, about};
use crate::ads::rights::{self, MANAGERS};
use crate::auth::Caller;
use crate::backbone::json_body::JsonRequest;
use crate::http::problem::Problem;
use crate::http::response_budget::in_time;

/// Responds with the new campaign, or with the one that had the `external_id` before. Errors: those of a body before it
/// is parsed, 422 and 503.
pub(super) async fn create(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let call = commands.call(&["application/json"]);
    let read = commands.backbone.read_json(request, call, |caller| caller.needs_any(MANAGERS)).await?;
    let JsonRequest { parts, caller, bytes, room: _room } = read;
    let cause = cause(&caller, &parts);
    let made = in_time(commands.backbone.cached.deadline(), make(&commands, &caller, &cause, &bytes)).await;
    made.and_then(|made| made).map_err(Problem::into_response)
}

async fn make(commands: &Commands, caller: &Caller, cause: &Cause, body: &Bytes) -> Result<Response, Problem> {
    let store = &commands.backbone.store;
    let terms = match Terms::parse(body) {
        Ok(terms) => terms,
        Err(error) => return Err(faults::of_body(store, body, error).await),
    };
    commands.backbone.outbox.admit()?;
    let made = campaigns::create(store, rights::owner(caller), actor(caller, cause), &terms).await;
    let (shown, is_new) = made.map_err(faults::of_change)?;
    if is_new {
        commands.backbone.doorbell.ring();
    }
    let id = id_of(&shown)?;
    let mut response = answer(if is_new { StatusCode::CREATED } else { StatusCode::OK }, shown);
    if is_new && let Ok(location) = HeaderValue::try_from(format!("{CAMPAIGNS}/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.extensions_mut().insert(about(id));
    Ok(response)
}
