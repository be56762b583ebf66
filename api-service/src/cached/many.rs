//! Several states in one response, each with its own outcome.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use shared::cache::CacheKey;
use tokio::time::Instant;

use super::{Cached, Loaded, none, tag};
use crate::http::body::Whole;
use crate::http::problem::{Code, Problem};
use crate::http::response_budget;

/// The items of a response end at this size, in bytes. No body is nearly as large.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What comes behind them: the ids that are left, which fit into a request.
const MAX_NEXT: usize = 256 * 1024;
/// Reads under way at once, as many as share a request to Redis. It bounds the connections that one response uses, and
/// the states that wait to be written.
const CONCURRENT: usize = 32;

impl Cached {
    /// Responds with the states of these ids, in their order; an id without a key has been refused. The caller's rights
    /// must be checked before. A response that would exceed [`MAX_BYTES`] ends before that, and lists the ids that are
    /// left, whose number is returned beside it.
    pub async fn show_many(
        &self,
        asked: Vec<(String, Result<CacheKey, Problem>)>,
        deadline: Instant,
    ) -> Result<(Response, usize), Problem> {
        let (ids, keys): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        // A state counts in the budget until it is written.
        let read = |key: Result<CacheKey, Problem>| async move {
            let (found, _) = self.state(&key?, deadline).await?;
            let mut room = self.answers.empty();
            room.cover(found.body.len())?;
            if found.version == 0 { Err(none()) } else { Ok((found, room)) }
        };
        let mut states = stream::iter(keys).map(read).buffered(CONCURRENT);
        let mut room = self.answers.empty();
        let mut body = Whole::new(MAX_BYTES + MAX_NEXT, &mut room);
        body.push(br#"{"items":["#)?;
        let mut count = 0;
        for id in &ids {
            let Some(state) = states.next().await else { break };
            let item = match &state {
                Ok((found, _)) => found_item(id, found),
                Err(problem) if problem.code == Code::OVERLOADED => return Err(problem.clone()),
                Err(problem) => refused_item(id, problem.code),
            };
            if count > 0 && body.len() + item.len() > MAX_BYTES {
                break;
            }
            if count > 0 {
                body.push(b",")?;
            }
            body.push(&item)?;
            count += 1;
        }
        body.push(br#"],"next":"#)?;
        body.push(json(&ids.get(count..).filter(|left| !left.is_empty())).as_bytes())?;
        body.push(b"}")?;
        let mut response = body.take().into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok((response_budget::within(room, response).await, ids.len() - count))
    }
}

/// The item of a state. The body stays as it is, as in the response to a single read.
fn found_item(id: &str, found: &Loaded) -> Vec<u8> {
    match tag(found).as_ref().and_then(|tag| tag.to_str().ok()) {
        Some(tag) => {
            let head = format!(r#"{{"id":{},"status":200,"etag":{},"resource":"#, json(&id), json(&tag));
            [head.as_bytes(), &found.body, b"}"].concat()
        }
        // It is not a body of ours, and could break the whole response.
        None => refused_item(id, Code::INTERNAL),
    }
}

fn refused_item(id: &str, code: Code) -> Vec<u8> {
    let (status, code) = (code.status().as_u16(), code.as_str());
    format!(r#"{{"id":{},"status":{status},"code":"{code}"}}"#, json(&id)).into_bytes()
}

/// Serializing strings cannot fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
