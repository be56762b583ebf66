//! The way to the collector of traces.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};
use tokio::runtime::Handle;

/// Sends on our runtime what the SDK's thread hands it.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    headers: HeaderMap,
    runtime: Handle,
    /// A collector that is away is one line in the log, and its return another.
    away: AtomicBool,
}

impl Client {
    pub(super) fn new(timeout: Duration, headers: HeaderMap) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        let http = http.build().context("no HTTP client for traces")?;
        Ok(Self { http, headers, runtime: Handle::current(), away: AtomicBool::new(false) })
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The exporter adds what it finds in the environment itself, even where the setting as a whole is wrong.
        let mut headers = self.headers.clone();
        for name in [CONTENT_TYPE, USER_AGENT] {
            if let Some(value) = request.headers_mut().remove(&name) {
                headers.entry(name).or_insert(value);
            }
        }
        *request.headers_mut() = headers;
        let http = self.http.clone();
        // The SDK's thread has no runtime of its own.
        let sent = self.runtime.spawn(async move { http.send_bytes(request).await }).await?;
        // The URL may hold a secret.
        sent.map_err(|error| match error.downcast::<reqwest::Error>() {
            Ok(error) => error.without_url().into(),
            Err(other) => other,
        })
    }

    fn told(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let error = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        let result = if error.is_none() { "taken" } else { "failed" };
        metrics::counter!("trace_exports_total", "outcome" => result).increment(1);
        let was_away = self.away.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_away => tracing::warn!(error, "the collector does not take traces"),
            None if was_away => tracing::info!("the collector takes traces again"),
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
