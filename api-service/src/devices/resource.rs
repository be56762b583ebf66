//! `GET /resource/{id}`: the latest state of a device.

use axum::extract::{Request, State};
use axum::response::Response;
use shared::devices::DeviceId;

use super::rights::may_read;
use super::{Reads, subject};
use crate::auth::identify;
use crate::cached::in_path;
use crate::http::problem::Problem;
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
    let id: DeviceId = in_path(&mut parts).await?;
    may_read(&caller, &id)?;
    backbone.cached.show(&id.cache_key(), &parts.headers, deadline, About::subject(subject(&id))).await
}
