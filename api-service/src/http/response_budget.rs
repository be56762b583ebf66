//! Bounds how many bytes of large responses are in memory at once: a response stays there until its client has read it.
//! When slow clients hold the whole budget, further large responses are refused, and small ones are not. The response
//! to a batch uses the memory permit of its body, which counts for its subject.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::in_flight::{InFlight, MemoryPermit};
use super::problem::Problem;

/// Smaller responses do not count: even one for every connection is harmless.
const SMALL: u64 = 16 * 1024;

/// The bytes of a response, which hold their permit until the last reference is dropped.
struct Counted(Bytes, #[expect(dead_code, reason = "it is held")] MemoryPermit);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Awaits a part of a read until the request's deadline; the caller may repeat a read. A submission enforces its
/// deadline itself.
pub(crate) async fn in_time<T>(deadline: Instant, part: impl Future<Output = T>) -> Result<T, Problem> {
    timeout_at(deadline, part).await.map_err(|_| Problem::of_status(StatusCode::SERVICE_UNAVAILABLE))
}

pub(crate) async fn within_budget(budget: &InFlight, response: Response) -> Result<Response, Problem> {
    let room = room_for(budget, response.body().size_hint().lower())?;
    Ok(within(room, response).await)
}

/// The memory for a response of this size, for [`within`]: to be taken before its content is read. A small one needs none.
pub(crate) fn room_for(budget: &InFlight, size: u64) -> Result<MemoryPermit, Problem> {
    let mut room = budget.empty();
    if size > SMALL {
        room.cover(usize::try_from(size).unwrap_or(usize::MAX))?;
    }
    Ok(room)
}

/// A response with memory that was already taken for it; a large response holds it until its bytes are dropped.
pub(crate) async fn within(room: MemoryPermit, response: Response) -> Response {
    if response.body().size_hint().lower() <= SMALL {
        return response;
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        // The body is one piece already, which is not copied.
        Ok(whole) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted(whole.to_bytes(), room)))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
