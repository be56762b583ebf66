//! Connections: accepted up to a cap, with deadlines, and drained at the end.

mod head_deadline;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use self::head_deadline::{HeadDeadline, Phase};
use crate::config::HttpConfig;

/// The wait after an error of `accept` that would only come again: no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a connection may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a request's headers may take, from their first byte.
    pub header_timeout: Duration,
    /// How long it may be idle.
    pub keep_alive_timeout: Duration,
    /// How many there may be.
    pub connections: usize,
    /// How long the last requests may take.
    pub drain_timeout: Duration,
}

impl Limits {
    /// Those of the settings.
    pub fn of(config: &HttpConfig) -> Self {
        Self {
            header_timeout: config.header_timeout,
            keep_alive_timeout: config.keep_alive_timeout,
            connections: usize::try_from(config.max_connections).unwrap_or(Semaphore::MAX_PERMITS),
            drain_timeout: config.drain_timeout,
        }
    }
}

/// Serves until `shutdown` comes; then accepts nothing more, closes idle connections, and waits
/// for the others to be answered, within the limit.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, permit) = tokio::select! {
            next = next(&listener, &permits) => match next {
                Some(next) => next,
                None => continue,
            },
            () = &mut shutdown => break,
        };
        spawn(stream, permit, router.clone(), limits, &graceful);
    }
    drop(listener);
    tracing::info!(connections = graceful.count(), "draining");
    if timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end of DRAIN_TIMEOUT");
    }
}

/// The next connection, once there is room for it.
async fn next(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
            // Those concern the one connection; the others will be over when something closes.
            if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

fn spawn(stream: TcpStream, permit: OwnedSemaphorePermit, router: Router, limits: Limits, graceful: &GracefulShutdown) {
    let phase = Phase::default();
    let io = HeadDeadline::new(stream, phase.clone(), limits.header_timeout);
    let service = service_fn(move |request: Request<Incoming>| {
        phase.in_request();
        let (router, phase) = (router.clone(), phase.clone());
        async move {
            let response = router.oneshot(request.map(Body::new)).await;
            phase.between_requests();
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper's deadline for headers runs while the connection is idle too: it is ours for that.
        .header_read_timeout(limits.keep_alive_timeout.max(limits.header_timeout))
        .serve_connection(TokioIo::new(io), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
}
