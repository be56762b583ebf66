//! Connections: accepted up to a cap, with deadlines, and drained at the end.

mod crowd;
mod deadline;
mod descriptors;
mod seat;
mod unread;
mod watched;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use self::crowd::{Crowd, Place};
use self::watched::Watched;
use crate::config::HttpConfig;

/// The wait after an error of `accept` that would only come again: no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most bytes that a request's headers may have: twice the longest token.
const MAX_HEAD: usize = 16 * 1024;
/// How much is read from a connection at once, at most.
const MAX_READ: usize = 64 * 1024;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a request's headers may take, from their first byte; the first request's from the
    /// connection's start.
    pub header_timeout: Duration,
    /// How long its client may take to take an answer in.
    pub write_timeout: Duration,
    /// How long it may be idle.
    pub keep_alive_timeout: Duration,
    pub connections: usize,
    /// How long traffic is still taken after the service was told to end.
    pub drain_delay: Duration,
    /// How long the last requests may take.
    pub drain_timeout: Duration,
}

impl Limits {
    pub fn of(config: &HttpConfig) -> Self {
        Self {
            header_timeout: config.header_timeout,
            write_timeout: config.write_timeout,
            keep_alive_timeout: config.keep_alive_timeout,
            connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
            drain_delay: config.drain_delay,
            drain_timeout: config.drain_timeout,
        }
    }
}

/// Serves until `shutdown` comes, and a while longer: whoever sends traffic has to notice first. In
/// this while each connection is closed with its next answer, so that its client takes another,
/// elsewhere. Then accepts nothing more, closes idle connections, and waits for the others to be
/// answered, within the limit. Gives those that are still open then.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Connections {
    let connections = Connections(watch::Sender::new(()));
    let crowd = Crowd::new(descriptors::enough_for(limits.connections));
    let graceful = GracefulShutdown::new();
    let leaving = Arc::new(AtomicBool::new(false));
    let mut shutdown = pin!(async {
        shutdown.await;
        leaving.store(true, Ordering::Relaxed);
        sleep(limits.drain_delay).await;
    });
    loop {
        let (stream, place) = tokio::select! {
            next = next(&listener, &crowd) => match next {
                Some(next) => next,
                None => continue,
            },
            () = &mut shutdown => break,
        };
        spawn(stream, place, router.clone(), limits, &graceful, &leaving, connections.0.subscribe());
    }
    drop(listener);
    tracing::info!(connections = graceful.count(), "draining");
    if timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end of DRAIN_TIMEOUT");
    }
    connections
}

/// The connections that are open, each of which holds a receiver.
#[derive(Debug)]
pub struct Connections(watch::Sender<()>);

impl Connections {
    /// Ends each, whatever it is doing, and waits until what is dropped with it has been logged and counted.
    pub async fn close(self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

/// The next connection, once there is room for it.
async fn next(listener: &TcpListener, crowd: &Arc<Crowd>) -> Option<(TcpStream, Place)> {
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            Some((stream, crowd.admit().await?))
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

fn spawn(
    stream: TcpStream,
    place: Place,
    router: Router,
    limits: Limits,
    graceful: &GracefulShutdown,
    leaving: &Arc<AtomicBool>,
    mut end: watch::Receiver<()>,
) {
    let leaving = Arc::clone(leaving);
    let seat = Arc::clone(&place.seat);
    let io = Watched::new(stream, Arc::clone(&seat), limits.header_timeout, limits.write_timeout);
    let service = service_fn(move |request: Request<Incoming>| {
        seat.in_request();
        let (router, seat, leaving) = (router.clone(), Arc::clone(&seat), Arc::clone(&leaving));
        async move {
            let mut response = router.oneshot(request.map(Body::new)).await;
            seat.between_requests();
            if let (true, Ok(response)) = (leaving.load(Ordering::Relaxed), &mut response) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper's deadline for headers runs while the connection is idle too: it is ours for that.
        .header_read_timeout(limits.keep_alive_timeout.max(limits.header_timeout))
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_READ)
        // A client that sends nothing more may wait for its answer all the same. So the end of what it sends does not
        // drop a handler; nor does the end of the client, which a write of the answer notices.
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    break;
                }
                () = place.seat.asked_to_leave() => if place.seat.idle_since().is_some() {
                    metrics::counter!("http_connections_closed_total", "reason" => "room").increment(1);
                    break;
                },
                _ = end.changed() => break,
            }
        }
    });
}
