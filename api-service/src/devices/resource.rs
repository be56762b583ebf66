//! `GET /resource/{id}`: the latest state of a device.

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use shared::devices::DeviceId;

use super::rights::may_read;
use super::{Reads, subject};
use crate::auth::identify;
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;
use crate::http::response_budget::in_time;
use crate::http::subject::About;

pub(super) async fn show(
    State(Reads { rights, backbone }): State<Reads>,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    // Parts of it, so that a hit sets no timer: a token that is remembered is ready at once, and Redis has
    // a deadline of its own.
    let caller = in_time(deadline, identify(&parts.headers, &backbone.tokens)).await??;
    rights.reads(&caller)?;
    backbone.rates.account(Kind::Reads, &parts).charge(&caller.subject, 1)?;
    let id = id(&mut parts).await?;
    may_read(&caller, &id)?;
    backbone.cached.show(&id.cache_key(), &parts.headers, deadline, About::subject(subject(&id))).await
}

/// The device that a path names.
///
/// # Errors
/// 404: what cannot be the name of a device names no resource.
pub(super) async fn id(parts: &mut Parts) -> Result<DeviceId, Problem> {
    let path = Path::<String>::from_request_parts(parts, &()).await;
    let id = path.ok().and_then(|Path(text)| text.parse().ok());
    id.ok_or_else(|| Problem::new(Code::RESOURCE_NOT_FOUND, "this is no resource's id"))
}
