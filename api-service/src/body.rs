//! Reads a request's body: bounded in size and in time.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

use crate::problem::{Code, Problem};

/// How much of a body that nobody wants is taken in before the answer, and for how long.
const DISCARD: usize = 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_millis(500);

/// The whole body.
///
/// # Errors
/// 413 past the limit, told or found out; 408 past the deadline; 400 where it breaks off.
pub async fn read(headers: &HeaderMap, body: &mut Body, limit: usize, deadline: Instant) -> Result<Bytes, Problem> {
    check_length(headers, limit)?;
    match timeout_at(deadline, Limited::new(body, limit).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) => Err(broken_off(&*error, limit)),
        Err(_) => Err(late()),
    }
}

/// Refuses a body that is told to be too large before any of it is read.
pub(crate) fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let over = told.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit));
    if over { Err(too_large(limit)) } else { Ok(()) }
}

pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body may have up to {limit} bytes"))
}

/// What an error while reading means.
pub(crate) fn broken_off(error: &(dyn std::error::Error + 'static), limit: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return too_large(limit);
    }
    Problem::new(Code::BadRequest, "the body broke off")
}

pub(crate) fn late() -> Problem {
    Problem::new(Code::RequestTimeout, "the body did not arrive in time")
}

/// Answers with a problem, once what is left of the body is out of the way.
pub async fn refuse(problem: Problem, headers: &HeaderMap, body: Body) -> Response {
    if problem.code != Code::RequestTimeout {
        discard(headers, body).await;
    }
    problem.into_response()
}

/// Takes in what is left of a body before it is answered with an error: a connection that is
/// closed with bytes unread is reset, and the answer may be lost with it.
async fn discard(headers: &HeaderMap, mut body: Body) {
    // Who waits for a word before sending has nothing under way.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let all = async {
        let mut left = DISCARD;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_FOR, all).await;
}
