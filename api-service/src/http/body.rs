//! Reads the body of a request, within limits of size and time.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

use super::in_flight::MemoryPermit;
use super::problem::{Code, Problem};

/// How much of a refused body is read before the response, and for how long.
const DISCARD: usize = 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_millis(500);

/// Reads the whole body, and counts it in `room` as it arrives.
pub async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    limit: usize,
    deadline: Instant,
    room: &mut MemoryPermit,
) -> Result<Bytes, Problem> {
    check_told(headers, limit)?;
    timeout_at(deadline, collect(body, limit, room)).await.unwrap_or_else(|_| Err(late()))
}

async fn collect(body: &mut Body, limit: usize, room: &mut MemoryPermit) -> Result<Bytes, Problem> {
    let mut body = Limited::new(body, limit);
    let mut next = async || match body.frame().await {
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(broken_off(&*error, limit)),
        None => Ok(None),
    };
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    room.cover(first.len())?;
    // Nearly every body arrives in one piece, which needs no copy.
    let Some(second) = next().await? else { return Ok(first) };
    let mut whole = Whole::new(limit, room);
    whole.push(&first)?;
    whole.push(&second)?;
    drop((first, second));
    while let Some(more) = next().await? {
        whole.push(&more)?;
    }
    Ok(whole.take())
}

/// A growing body: never larger than its limit, and always covered by its permit.
pub(crate) struct Whole<'a> {
    bytes: Vec<u8>,
    limit: usize,
    room: &'a mut MemoryPermit,
}

impl<'a> Whole<'a> {
    pub(crate) fn new(limit: usize, room: &'a mut MemoryPermit) -> Self {
        Self { bytes: Vec::new(), limit, room }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let length = self.bytes.len() + bytes.len();
        if length > self.limit {
            return Err(too_large(self.limit));
        }
        if length > self.bytes.capacity() {
            let capacity = length.max(self.bytes.capacity() * 2).min(self.limit);
            self.room.cover(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }
}

/// Refuses, before reading, a body whose `Content-Length` exceeds the limit, or with a transfer coding other than
/// `chunked`: hyper checks only the last coding.
pub(crate) fn check_told(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let codings: Vec<_> = headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let understood = match codings[..] {
        [] => true,
        [only] => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    if !understood {
        return Err(Problem::new(Code::BAD_REQUEST, "the transfer coding must be chunked, and occur once"));
    }
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let over = told.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit));
    if over { Err(too_large(limit)) } else { Ok(()) }
}

pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BODY_TOO_LARGE, format!("the body may have up to {limit} bytes"))
}

/// Maps an error while reading to a problem.
pub(crate) fn broken_off(error: &(dyn std::error::Error + 'static), limit: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return too_large(limit);
    }
    Problem::new(Code::BAD_REQUEST, "the body is incomplete")
}

pub(crate) fn late() -> Problem {
    Problem::new(Code::REQUEST_TIMEOUT, "the body did not arrive in time")
}

/// Responds with a problem, after the rest of the body was discarded.
pub async fn refuse(problem: Problem, headers: &HeaderMap, body: Body) -> Response {
    if problem.code != Code::REQUEST_TIMEOUT {
        discard(headers, body).await;
    }
    problem.into_response()
}

/// Reads the rest of a body before an error response: closing a connection with unread bytes resets it, and the client
/// may lose the response.
async fn discard(headers: &HeaderMap, body: Body) {
    // A client that waits for `100 Continue` has not sent the body.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut body = Limited::new(body, DISCARD);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(DISCARD_FOR, all).await;
}
