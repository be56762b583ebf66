//! Large answers stay in memory until their clients have taken them in: how many bytes of them
//! there may be at once. When slow readers hold all of it, further large answers are refused, and small ones are not.
//! The answer to a batch goes on with the memory of its body, which counts for its subject.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::in_flight::{InFlight, MemoryPermit};
use super::problem::Problem;

/// Smaller ones do not count: as many as there may be connections are no harm.
const SMALL: u64 = 16 * 1024;

/// An answer's bytes, which take up their room for as long as anybody holds them.
struct Counted(Bytes, #[expect(dead_code, reason = "it is held")] MemoryPermit);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Waits for a part of the answer to what only reads, and may as well be asked again, until the request's
/// deadline. A submission keeps its deadline itself, see there.
pub(crate) async fn in_time<T>(deadline: Instant, part: impl Future<Output = T>) -> Result<T, Problem> {
    timeout_at(deadline, part).await.map_err(|_| Problem::of_status(StatusCode::SERVICE_UNAVAILABLE))
}

pub(crate) async fn within_budget(budget: &InFlight, response: Response) -> Result<Response, Problem> {
    let size = response.body().size_hint().lower();
    if size <= SMALL {
        return Ok(response);
    }
    let mut room = budget.empty();
    room.cover(usize::try_from(size).unwrap_or(usize::MAX))?;
    Ok(within(room, response).await)
}

/// An answer in room that was taken for it, and that a large one keeps for as long as anybody holds its bytes.
pub(crate) async fn within(room: MemoryPermit, response: Response) -> Response {
    if response.body().size_hint().lower() <= SMALL {
        return response;
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        // In one piece already, which is not copied.
        Ok(whole) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted(whole.to_bytes(), room)))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
