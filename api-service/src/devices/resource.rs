//! `GET /resource/{id}`: the latest state of a device.

use axum::extract::{Request, State};
use axum::response::Response;
use shared::devices::DeviceId;

use super::rights::{READERS, allow};
use super::{Reads, subject};
use crate::cached::in_path;
use crate::http::problem::Problem;
use crate::http::subject::About;

pub(super) async fn show(
    State(Reads { rights, backbone }): State<Reads>,
    request: Request,
) -> Result<Response, Problem> {
    let deadline = backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    let caller = backbone.reader(&parts, deadline, |caller| rights.admit(caller, READERS)).await?;
    let id: DeviceId = in_path(&mut parts).await?;
    allow(&caller, READERS, &id, None)?;
    backbone.cached.show(&id.cache_key(), &parts.headers, deadline, About::subject(subject(&id))).await
}
