//! Products: admins set them, and editors place them.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use shared::placements::queries::{commands, reads};
use shared::placements::{NewProduct, ProductId};
use tokio::time::Instant;

use super::answers::{BODY_TYPES, MAX_BODY, id_in_path, json, none, of_body, of_product, shown, unread};
use super::codes::{INVALID_PRODUCT, PRODUCT_NOT_FOUND};
use super::command::Commands;
use super::page;
use super::paths::{PRODUCT, PRODUCTS};
use super::rights::{ADMINS, READERS};
use crate::backbone::json_body::{JsonCall, JsonRequest};
use crate::http::Route;
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::rate::Kind;
use crate::http::response_budget::{in_time, within_budget};

pub(super) fn routes(commands: &Commands) -> Vec<Route> {
    let all = get(list).with_state(commands.clone());
    vec![(PRODUCTS, all), (PRODUCT, get(show).put(put).with_state(commands.clone()))]
}

/// Sets a product. Nobody is told: a validation is of the products at its own time. Errors: those of a body before it is
/// parsed, 404 for an id that cannot be one, 422 and 503.
async fn put(State(Commands { backbone, .. }): State<Commands>, request: Request) -> Result<Response, Response> {
    let call =
        JsonCall { types: &BODY_TYPES, limit: MAX_BODY, cost: (Kind::Reads, 1), anonymous: None, services: None };
    let read = backbone.read_json(request, call, |caller| caller.needs_any(ADMINS)).await?;
    let JsonRequest { mut parts, bytes, room: _room, .. } = read;
    let set = async {
        let id: ProductId = id_in_path(&mut parts, PRODUCT_NOT_FOUND).await?;
        let about = || of_product(&id);
        let new = NewProduct::parse(&bytes).map_err(of_body(INVALID_PRODUCT));
        let new = new.map_err(|problem| problem.logged_about(about()))?;
        let written = commands::put_product(&backbone.store, &id, &new).await;
        let (body, is_new) = written.map_err(|failure| unread(&failure).logged_about(about()))?;
        let mut response = json(body);
        *response.status_mut() = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(about());
        Ok(response)
    };
    let set = in_time(backbone.cached.deadline(), set).await;
    set.and_then(|set| set).map_err(Problem::into_response)
}

/// Responds with a product. Errors: 401 and 403 before it is read, 404, and 503.
async fn show(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    in_time(deadline, find(&commands, &mut parts, deadline)).await?
}

async fn find(Commands { backbone, .. }: &Commands, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let id: ProductId = id_in_path(parts, PRODUCT_NOT_FOUND).await?;
    let found = reads::product(&backbone.store, &id).await;
    let found = found.map_err(|failure| unread(&failure).logged_about(of_product(&id)))?;
    let found = found.ok_or_else(|| none(PRODUCT_NOT_FOUND).logged_about(of_product(&id)))?;
    Ok(shown(found, &parts.headers, of_product(&id)))
}

/// Responds with a page of products, by id. Errors: 401 and 403 before it is read, 400, and 503.
async fn list(State(commands): State<Commands>, request: Request) -> Result<Response, Problem> {
    let deadline = commands.backbone.cached.deadline();
    let (parts, _) = request.into_parts();
    let response = in_time(deadline, look(&commands, &parts, deadline)).await??;
    within_budget(&commands.backbone.answers, response).await
}

async fn look(Commands { backbone, .. }: &Commands, parts: &Parts, deadline: Instant) -> Result<Response, Problem> {
    backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
    let page::Query { after, limit } = page::Query::<ProductId>::of(&Parameters::of(&parts.uri))?;
    let found = reads::products(&backbone.store, after.as_ref(), limit).await.map_err(|failure| unread(&failure))?;
    Ok(page::answer("products", &found, ""))
}
