//! Large answers stay in memory until their clients have taken them in: how many bytes of them
//! there may be at once. Those who read slowly can keep each other waiting, and nobody else.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
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
    let mut response = next.run(request).await;
    let size = response.body().size_hint().lower();
    if size <= SMALL {
        return response;
    }
    let room = app.answers.room(&HeaderMap::new(), 0).and_then(|mut room| {
        room.cover(usize::try_from(size).unwrap_or(usize::MAX))?;
        Ok(room)
    });
    match room {
        Ok(room) => {
            // All answers are there as a whole.
            if let Some(Ok(frame)) = response.body_mut().frame().await {
                let bytes = frame.into_data().unwrap_or_default();
                *response.body_mut() = Body::from(Bytes::from_owner(Counted(bytes, room)));
            }
            response
        }
        Err(problem) => problem.into_response(),
    }
}
