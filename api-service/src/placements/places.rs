//! The placements themselves: created one by one or many at once, listed, shown, changed and deleted.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{self, get, post};
use shared::placements::queries::reads::{self, Asked};
use shared::placements::values::MAX_MS;
use shared::placements::{NewPlacement, PlacementId, PlacementPatch};
use tokio::time::Instant;

use super::answers::{BODY_TYPES, PATCH_TYPES, id_in_path, none, of_body, of_placement, of_video, shown, unread};
use super::codes::{INVALID_PLACEMENT, PLACEMENT_NOT_FOUND, VIDEO_NOT_FOUND};
use super::command::{Action, Commands};
use super::page::{self, after, limit};
use super::paths::{PLACEMENT, PLACEMENTS, PLACEMENTS_OF_VIDEO};
use super::rights::{EDITORS, READERS};
use super::videos::video_in_path;
use crate::backbone::json_body::JsonCall;
use crate::cached::Source;
use crate::http::compression::compressed;
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::rate::Kind;
use crate::http::response_budget::{in_time, within_budget};
use crate::http::{IfMatch, Route};

/// As many placements as a call may have, each with the longest texts.
pub(super) const MAX_MANY_BODY: usize = 4 * 1024 * 1024;
/// How many placements a page has, unless the caller asks for fewer or more.
pub(super) const DEFAULT_LIMIT: u16 = 100;
pub(super) const MAX_LIMIT: u16 = 1_000;

pub(super) fn routes(commands: &Commands) -> Vec<Route> {
    let new = post(create).with_state(commands.clone());
    let one = routing::delete(delete).get(show).patch(change).with_state(commands.clone());
    let listed = compressed(get(list).with_state(commands.clone()), &commands.backbone.answers);
    let of_video = listed.merge(post(create_many).with_state(commands.clone()));
    vec![(PLACEMENTS, new), (PLACEMENT, one), (PLACEMENTS_OF_VIDEO, of_video)]
}

/// Responds with the new placement. Errors: those of a body before it is parsed, those of a command, 404, 409 and 422.
async fn create(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let read = commands.read(request, &BODY_TYPES).await?;
    let new = NewPlacement::parse(&read.bytes).map(Action::CreatePlacement).map_err(of_body(INVALID_PLACEMENT));
    commands.carry_out(read, new).await
}

/// Responds with the new placements of a video: all are created, or none. Errors: the same, and 413 for more than the
/// caller may ever send at once.
async fn create_many(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let backbone = &commands.backbone;
    // Only the body tells how many they are.
    let call =
        JsonCall { types: &BODY_TYPES, limit: MAX_MANY_BODY, cost: (Kind::Reads, 0), anonymous: None, services: None };
    let mut read = backbone.read_json(request, call, |caller| caller.needs_any(EDITORS)).await?;
    let video = video_in_path(&mut read.parts).await;
    let new = video.and_then(|video| {
        let new = NewPlacement::parse_many(&read.bytes, video);
        let count = new.as_ref().map_or(1, |new| u32::try_from(new.len()).unwrap_or(u32::MAX));
        backbone.rates.charge(Kind::Reads, &read.parts, read.caller.quota(), count)?;
        let new = new.map_err(|error| of_body(INVALID_PLACEMENT)(error).logged_about(of_video(video)))?;
        Ok(Action::CreatePlacements(video, new))
    });
    commands.carry_out(read, new).await
}

/// Responds with the changed placement. Errors: those of a body before it is parsed, those of a command, 404, 412, 422 and
/// 428.
async fn change(State(commands): State<Commands>, request: Request) -> Result<Response, Response> {
    let mut read = commands.read(request, &PATCH_TYPES).await?;
    let id = placement_in_path(&mut read.parts).await.map_err(Problem::into_response)?;
    let action = IfMatch::required(&read.parts.headers).and_then(|_| {
        let patch = PlacementPatch::parse(&read.bytes).map_err(of_body(INVALID_PLACEMENT))?;
        Ok(Action::ChangePlacement(id, patch))
    });
    commands.carry_out(read, action.map_err(|problem| problem.logged_about(of_placement(id)))).await
}

/// Deletes a placement. Errors: 401 and 403 before anything is read, those of a command, 404, 412 and 428.
async fn delete(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let caller = commands.backbone.reader(&parts, deadline, |caller| caller.needs_any(EDITORS)).await?;
    let id = placement_in_path(&mut parts).await?;
    IfMatch::required(&parts.headers).map_err(|problem| problem.logged_about(of_placement(id)))?;
    commands.carry_out_bare(parts, caller, Action::DeletePlacement(id)).await
}

/// The placement in the path; 404 if it cannot be one.
async fn placement_in_path(parts: &mut Parts) -> Result<PlacementId, Problem> {
    id_in_path(parts, PLACEMENT_NOT_FOUND).await
}

/// Responds with a placement. Errors: 401 and 403 before it is read, 404, and 503.
async fn show(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    in_time(deadline, find(&commands, &mut parts, deadline)).await?
}

async fn find(Commands { backbone, .. }: &Commands, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let id = placement_in_path(parts).await?;
    let found = reads::placement(&backbone.store, id).await;
    let found = found.map_err(|failure| unread(&failure).logged_about(of_placement(id)))?;
    let found = found.ok_or_else(|| none(PLACEMENT_NOT_FOUND).logged_about(of_placement(id)))?;
    Ok(shown(found, &parts.headers, of_placement(id)))
}

/// Responds with a page of a video's placements, by their starts. Errors: 401 and 403 before it is read, 400, 404, and
/// 503.
async fn list(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let response = in_time(deadline, look(&commands, &mut parts, deadline)).await??;
    within_budget(&commands.backbone.answers, response).await
}

async fn look(Commands { backbone, .. }: &Commands, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let video = video_in_path(parts).await?;
    let asked = asked(&Parameters::of(&parts.uri)).map_err(|problem| problem.logged_about(of_video(video)))?;
    let found = reads::placements_of(&backbone.store, video, asked).await;
    let found = found.map_err(|failure| unread(&failure).logged_about(of_video(video)))?;
    let found = found.ok_or_else(|| none(VIDEO_NOT_FOUND).logged_about(of_video(video)))?;
    let mut response = page::answer("placements", &found.page, &format!(r#""revision":{},"#, found.revision));
    response.headers_mut().insert("cache-status", HeaderValue::from_static(Source::Bypass.parts().1));
    response.extensions_mut().insert(of_video(video));
    Ok(response)
}

fn asked(given: &Parameters<'_>) -> Result<Asked, Problem> {
    let expected = format!("a number of milliseconds from 0 to {MAX_MS}");
    let time = |name| given.get(name, &expected, |text| text.parse::<u32>().ok().filter(|time| *time <= MAX_MS));
    Ok(Asked {
        from: time("from")?.unwrap_or(0),
        to: time("to")?.unwrap_or(MAX_MS),
        after: after(given)?,
        limit: limit(given, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query() {
        let query = |text: &str| asked(&Parameters::of(&format!("/videos/1/placements?{text}").parse().unwrap()));
        let all = Asked { from: 0, to: MAX_MS, after: None, limit: 100 };
        assert_eq!(query("").unwrap(), all);
        let place = format!("7.{}", PlacementId::generate());
        let part = Asked { from: 1, to: 2, after: place.parse().ok(), limit: 1_000 };
        assert_eq!(query(&format!("from=1&to=2&limit=1000&after={place}")).unwrap(), part);
        for (text, name) in [
            ("from=-1", "from must be a number of milliseconds from 0 to 86400000"),
            ("to=86400001", "to must"),
            ("from=1&from=1", "from occurs more than once"),
            ("limit=1001", "limit must be a number from 1 to 1000"),
            ("after=7", "after must be"),
        ] {
            let problem = String::from_utf8(query(text).unwrap_err().body("r")).unwrap();
            assert!(problem.contains(name) && problem.contains("bad_request"), "{text}: {problem}");
        }
    }
}
