//! One attempt at a call.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use tokio::time::Instant;

use super::{EXPECTED, PeerError};
use crate::kafka::Cause;

/// The largest answer: more than the findings about the largest video have.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) struct Attempt<'a> {
    pub(super) client: &'a Client,
    pub(super) url: &'a str,
    pub(super) bearer: &'a str,
    pub(super) body: Bytes,
    pub(super) cause: &'a Cause,
    pub(super) due: Instant,
}

/// Why an attempt has no good answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The service did not answer, or cannot work at the moment: another one may.
    Repeatable(String),
    /// Its time is over.
    Late(String),
    /// The service answered, and would do so again.
    Answered(PeerError),
}

impl Attempt<'_> {
    /// Sends it, and returns the body of a good answer.
    pub(super) async fn send(&self) -> Result<Bytes, Failed> {
        let left = self.due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failed::Late("there was no time left for another attempt".to_owned()));
        }
        let request = self.client.post(self.url).timeout(left).bearer_auth(self.bearer).body(self.body.clone());
        let request = request.header(CONTENT_TYPE, JSON).header(ACCEPT, JSON);
        let request = request.header(EXPECTED, left.as_millis().max(1).to_string());
        let request = self.named().fold(request, |request, (name, value)| request.header(name, value));
        let response = request.send().await.map_err(of_transport)?;
        let status = response.status();
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err(Failed::Repeatable(format!("it answered {}", status.as_u16())))
            }
            status if status.is_success() => body(response).await,
            status if status.is_client_error() => {
                let body = body(response).await?;
                Err(Failed::Answered(PeerError::Refused { status: status.as_u16(), body }))
            }
            _ => Err(Failed::Answered(PeerError::Broken(format!("it answered {}", status.as_u16())))),
        }
    }

    /// What the call belongs to, for the log and the traces of the called service.
    fn named(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let Cause { correlation_id, request_id, traceparent, .. } = self.cause;
        let all = [("x-request-id", request_id), ("x-correlation-id", correlation_id), ("traceparent", traceparent)];
        all.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value.as_deref()?).ok()?)))
    }
}

async fn body(mut response: Response) -> Result<Bytes, Failed> {
    let mut whole = Vec::new();
    while let Some(part) = response.chunk().await.map_err(of_transport)? {
        if whole.len() + part.len() > MAX_ANSWER {
            let why = format!("its answer is larger than {MAX_ANSWER} bytes");
            return Err(Failed::Answered(PeerError::Broken(why)));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.into())
}

fn of_transport(error: reqwest::Error) -> Failed {
    // The whole of it takes the rest of the caller's time; connecting has a time of its own.
    let is_late = error.is_timeout() && !error.is_connect();
    let why = format!("{:#}", anyhow::Error::from(error.without_url()));
    if is_late { Failed::Late(why) } else { Failed::Repeatable(why) }
}
