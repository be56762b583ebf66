//! Large answers stay in memory until their clients have taken them in: how many bytes of them
//! there may be at once. Those who read slowly can keep each other waiting, and nobody else. Answers
//! to submissions count as the bodies do, each for its subject.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::app::App;
use crate::in_flight::Room;
use crate::problem::{Code, Problem};
use crate::request_id;

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
    counted(response, room).await
}

/// Where the room of a submission's body is kept until it is answered.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Room>>>);

/// Keeps it there.
pub(crate) fn keep(parts: &Parts, room: Room) {
    if let Some(Kept(kept)) = parts.extensions.get::<Kept>() {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }
}

/// A layer for submissions, outside of where problems are written down: a large answer takes the
/// room that its body had, and more where it is larger. Where there is none, another one is sent, which
/// the log and the metrics do not know of: `overloaded_total` counts it.
pub async fn held(mut request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let kept = Kept::default();
    request.extensions_mut().insert(kept.clone());
    let response = next.run(request).await;
    let room = kept.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let size = response.body().size_hint().lower();
    let Some(mut room) = room.filter(|_| size > SMALL) else { return response };
    if room.cover(usize::try_from(size).unwrap_or(usize::MAX)).is_ok() {
        return counted(response, room).await;
    }
    let problem = if response.status().is_client_error() {
        Problem::new(Code::Overloaded, "there is no room for the answer; nothing was taken")
    } else {
        let detail = "there is no room for the answer; send the events again with the same event_ids, they count once";
        Problem::new(Code::OutcomeUnknown, detail)
    };
    let id = response.headers().get(request_id::HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    problem.write(response, &id)
}

/// With its bytes counted for as long as anybody holds them.
async fn counted(response: Response, room: Room) -> Response {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        // In one piece already, which is not copied.
        Ok(whole) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted(whole.to_bytes(), room)))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
