//! Videos: editors make, list, show and change them.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use shared::placements::queries::reads;
use shared::placements::{NewVideo, VideoId, VideoPatch};
use tokio::time::Instant;

use super::answers::{BODY_TYPES, PATCH_TYPES, id_in_path, none, of_body, of_video, unread};
use super::codes::{INVALID_VIDEO, VIDEO_NOT_FOUND};
use super::command::{Action, Commands};
use super::page;
use super::paths::{VIDEO, VIDEOS};
use super::rights::READERS;
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::response_budget::{in_time, within_budget};
use crate::http::{IfMatch, Route};

pub(super) fn routes(commands: &Commands) -> Vec<Route> {
    let all = get(list).post(create).with_state(commands.clone());
    let one = get(show).patch(change).with_state(commands.clone());
    vec![(VIDEOS, all), (VIDEO, one)]
}

/// The video in the path; 404 if it cannot be one.
pub(super) async fn video_in_path(parts: &mut Parts) -> Result<VideoId, Problem> {
    id_in_path(parts, VIDEO_NOT_FOUND).await
}

/// Responds with the new video. Errors: those of a body before it is parsed, those of a command, and 422.
async fn create(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let read = commands.read(request, &BODY_TYPES).await?;
    let new = NewVideo::parse(&read.bytes).map(Action::CreateVideo).map_err(of_body(INVALID_VIDEO));
    commands.carry_out(read, new).await
}

/// Responds with the changed video. Errors: those of a body before it is parsed, those of a command, 404, 412, 422 and
/// 428.
async fn change(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let mut read = commands.read(request, &PATCH_TYPES).await?;
    let id = video_in_path(&mut read.parts).await.map_err(Problem::into_response)?;
    let action = IfMatch::required(&read.parts.headers).and_then(|_| {
        let patch = VideoPatch::parse(&read.bytes).map_err(of_body(INVALID_VIDEO))?;
        Ok(Action::ChangeVideo(id, patch))
    });
    commands.carry_out(read, action.map_err(|problem| problem.logged_about(of_video(id)))).await
}

/// Responds with a video, from the cache. Errors: 401 and 403 before it is read, 404, and 503.
async fn show(State(Commands { backbone, .. }): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    backbone.reader(&parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let id = video_in_path(&mut parts).await?;
    let mut response = backbone.cached.show(&id.cache_key(), &parts.headers, deadline, of_video(id)).await?;
    if response.status() == StatusCode::NOT_FOUND {
        // The headers stay, which say where this was found out.
        response.extensions_mut().insert(none(VIDEO_NOT_FOUND).logged_about(of_video(id)));
    }
    Ok(response)
}

/// Responds with a page of videos, in the order in which they were made. Errors: 401 and 403 before it is read, 400, and
/// 503.
async fn list(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (parts, _) = request.into_parts();
    let response = in_time(deadline, look(&commands, &parts, deadline)).await??;
    within_budget(&commands.backbone.answers, response).await
}

async fn look(Commands { backbone, .. }: &Commands, parts: &Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let page::Query { after, limit } = page::Query::of(&Parameters::of(&parts.uri))?;
    let found = reads::videos(&backbone.store, after, limit).await.map_err(|failure| unread(&failure))?;
    Ok(page::answer("videos", &found, ""))
}
