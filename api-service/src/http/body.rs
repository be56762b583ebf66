//! Reads the body of a request, within limits of size and time.

mod pace;

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

pub use self::pace::BodyLimits;
pub(crate) use self::pace::Pace;
use super::in_flight::MemoryPermit;
use super::problem::{Code, Problem};

/// How much of a refused body is read before the response, so that its connection can be used again, and for how long.
const DISCARD: u64 = 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_millis(500);

/// Reads the whole body, and counts it in `room` as it arrives.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    limit: usize,
    pace: &Pace<'_>,
    room: &mut MemoryPermit,
) -> Result<Bytes, Problem> {
    check_told(headers, limit)?;
    let body = &mut Limited::new(body, limit);
    let Some(first) = next(body, limit, pace, room).await? else { return Ok(Bytes::new()) };
    room.cover(first.len())?;
    // Nearly every body arrives in one piece, which needs no copy.
    let Some(second) = next(body, limit, pace, room).await? else { return Ok(first) };
    let mut whole = Whole::new(limit, room);
    whole.push(&first)?;
    whole.push(&second)?;
    drop((first, second));
    while let Some(more) = next(body, limit, pace, whole.room).await? {
        whole.push(&more)?;
    }
    Ok(whole.take())
}

/// The next piece of the body.
async fn next(
    body: &mut Limited<&mut Body>,
    limit: usize,
    pace: &Pace<'_>,
    room: &mut MemoryPermit,
) -> Result<Option<Bytes>, Problem> {
    match pace.wait(room, body.frame()).await? {
        Some(Ok(frame)) => {
            let piece = frame.into_data().unwrap_or_default();
            pace.received(piece.len());
            Ok(Some(piece))
        }
        Some(Err(error)) => Err(broken_off(&*error, limit)),
        None => Ok(None),
    }
}

/// A growing body: never larger than its limit, and always covered by its permit.
pub(crate) struct Whole<'a> {
    bytes: Vec<u8>,
    limit: usize,
    /// Memory besides the body's own.
    beside: usize,
    pub(crate) room: &'a mut MemoryPermit,
}

impl<'a> Whole<'a> {
    pub(crate) fn new(limit: usize, room: &'a mut MemoryPermit) -> Self {
        Self { bytes: Vec::new(), limit, beside: 0, room }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let length = self.bytes.len() + bytes.len();
        if length > self.limit {
            return Err(too_large(self.limit));
        }
        if length > self.bytes.capacity() {
            self.reserve(length.max(self.bytes.capacity() * 2).min(self.limit))?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes room for a body of `capacity` bytes.
    pub(crate) fn reserve(&mut self, capacity: usize) -> Result<(), Problem> {
        self.room.cover(capacity.saturating_add(self.beside))?;
        self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
        Ok(())
    }

    /// Counts this much memory besides the body's own, until the body is taken.
    pub(crate) fn beside(&mut self, bytes: usize) -> Result<(), Problem> {
        self.beside = bytes;
        self.room.cover(self.bytes.capacity().saturating_add(bytes))
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(self) -> Bytes {
        self.room.shrink(self.bytes.capacity());
        self.bytes.into()
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
    let over = told(headers).is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit));
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

/// Responds with a problem. The rest of a small body is read first, so that its connection can be used again; after any
/// other the connection is closed ([`server`](super::server) lets the client read the response all the same).
pub async fn refuse(problem: Problem, headers: &HeaderMap, body: Body) -> Response {
    let in_time = ![Code::REQUEST_TIMEOUT, Code::SHUTTING_DOWN].contains(&problem.code);
    let is_read = in_time && discard(headers, body).await;
    let mut response = problem.into_response();
    if !is_read {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads the rest of a body; whether it ended.
async fn discard(headers: &HeaderMap, body: Body) -> bool {
    // A client that waits for `100 Continue` has not sent the body.
    if headers.contains_key(header::EXPECT) || told(headers).is_some_and(|length| length > DISCARD) {
        return false;
    }
    let mut left = Limited::new(body, usize::try_from(DISCARD).unwrap_or(usize::MAX));
    let all = async {
        loop {
            match left.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None => return true,
            }
        }
    };
    timeout(DISCARD_FOR, all).await.unwrap_or(false)
}

/// The content type; empty if there is none, or if there are several.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    // If two values differ, a proxy in front of this service may have used the other one.
    let (Some(only), None) = (all.next(), all.next()) else { return "" };
    only.to_str().unwrap_or_default()
}

/// The `Content-Length`.
fn told(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
