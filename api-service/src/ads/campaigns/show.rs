//! `GET /campaigns/{id}`: a campaign, with its money as it is now.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use shared::ads::queries::campaigns;
use tokio::time::Instant;

use super::answer;
use crate::ads::commands::{Commands, about, campaign_in_path, failed, not_found};
use crate::ads::rights;
use crate::http::problem::Problem;
use crate::http::response_budget::{in_time, within_budget};

/// Responds with a campaign that the caller sees. Errors: 401 and 403 before it is read, 404, and 503.
pub(super) async fn show(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let response = in_time(deadline, look(&commands, &mut parts, deadline)).await??;
    within_budget(&commands.backbone.answers, response).await
}

async fn look(commands: &Commands, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
    let caller = commands.caller(parts, deadline).await?;
    let id = campaign_in_path(parts).await?;
    let found = campaigns::get(&commands.backbone.store, id, rights::viewer(&caller)).await;
    let found = found.map_err(|failure| failed(&failure, "read a campaign").logged_about(about(id)))?;
    let shown = found.ok_or_else(|| not_found().logged_about(about(id)))?;
    let mut response = answer(StatusCode::OK, shown);
    response.extensions_mut().insert(about(id));
    Ok(response)
}
