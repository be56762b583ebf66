//! Large answers stay in memory until their clients have taken them in: how many bytes of them
//! there may be at once. Those who read slowly can keep each other waiting, and nobody else.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::app::App;
use crate::in_flight::Room;

/// Smaller ones do not count: as many as there may be connections are no harm.
const SMALL: u64 = 16 * 1024;

/// An answer's bytes, which take up their room for as long as anybody holds them.
struct Counted(Bytes, #[expect(dead_code, reason = "it is held")] Room);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A layer for what only reads, and may as well be asked again: 503 where there is no room.
pub async fn bounded(State(app): State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let size = response.body().size_hint().lower();
    if size <= SMALL {
        return response;
    }
    let mut room = app.answers.empty();
    if let Err(problem) = room.cover(usize::try_from(size).unwrap_or(usize::MAX)) {
        return problem.into_response();
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        // In one piece already, which is not copied.
        Ok(whole) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted(whole.to_bytes(), room)))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
