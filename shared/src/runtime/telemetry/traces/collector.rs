//! The HTTP client for the trace collector.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};
use tokio::runtime::Handle;

/// Sends the requests of the SDK's thread on our runtime.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    headers: HeaderMap,
    runtime: Handle,
    /// Whether the last export failed: the log has one line when exports begin to fail, and one when they succeed
    /// again.
    away: AtomicBool,
}

impl Client {
    pub(super) fn new(timeout: Duration, headers: HeaderMap) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        let http = http.build().context("cannot create an HTTP client for traces")?;
        Ok(Self { http, headers, runtime: Handle::current(), away: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        // Use only our headers: the exporter also adds those that it reads from the environment itself, even if the
        // setting as a whole is wrong.
        let mut headers = self.headers.clone();
        for name in [CONTENT_TYPE, USER_AGENT] {
            if let Some(value) = parts.headers.remove(&name) {
                headers.entry(name).or_insert(value);
            }
        }
        let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(|_| "not a URL")?;
        let request = self.http.request(parts.method, url).headers(headers).body(body);
        // The SDK's thread has no runtime of its own.
        let sent = self.runtime.spawn(async move {
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
        });
        // The URL and the headers may contain a secret, so the error has neither.
        let (status, headers, body) = sent.await?.map_err(reqwest::Error::without_url)?;
        let mut answer = Response::new(body);
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Ok(answer)
    }

    fn told(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let error = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        let result = if error.is_none() { "taken" } else { "failed" };
        metrics::counter!("trace_exports_total", "outcome" => result).increment(1);
        let was_away = self.away.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_away => tracing::warn!(error, "the collector does not accept traces"),
            None if was_away => tracing::info!("the collector accepts traces again"),
            _ => {}
        }
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'async_trait, Result<Response<Bytes>, HttpError>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let outcome = self.send(request).await;
            self.told(&outcome);
            outcome
        })
    }
}
