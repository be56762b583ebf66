//! Connections: accepted up to a limit, given to the threads that serve them, with deadlines, and drained at shutdown.

mod cores;
mod descriptors;
mod foreign;
mod stream;

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

pub use self::cores::Cores;
use self::stream::{ClientStream, ConnectionState, tracked};
use super::config::HttpConfig;

/// The wait after an error of `accept` that would repeat at once, such as no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most bytes of a request's headers: twice the longest token.
const MAX_HEAD: usize = 32 * 1024;
/// The most bytes of one read from a connection.
const MAX_READ: usize = 64 * 1024;

/// Slow bodies may have the maximum number of connections divided by this.
const SLOW_SHARE: usize = 4;

/// The reasons in `http_connections_closed_total`.
pub(super) const ENDED_EARLY: [&str; 8] =
    ["answer_not_taken", "client_gone", "headers_too_large", "http2", "idle", "proxy_protocol", "tls", "unreadable"];

/// Connections that may wait to be accepted, as many as Linux allows by default (`net.core.somaxconn`); tokio's own
/// `bind` asks for 128.
const BACKLOG: u32 = 4_096;

/// Listens with a backlog for a fleet that reconnects at once: when the backlog is full, the kernel drops the
/// connection attempt, and the client tries again after a second or more.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: connections of the previous process may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many connections may have a body that arrives slowly.
pub fn max_slow_bodies(config: &HttpConfig) -> usize {
    (descriptors::allowed(config.max_connections) / SLOW_SHARE).max(1)
}

/// Serves until `shutdown` completes, and for `DRAIN_DELAY` longer, because the load balancer has to notice first.
/// During this delay each connection is closed with its next response, so that its client connects to another instance.
/// Then accepts nothing more, closes idle connections, and waits up to `DRAIN_TIMEOUT` for the others. Returns the
/// connections that are still open. There is a router for each thread, so that threads do not count the references to a
/// common one.
pub async fn serve(
    listener: TcpListener,
    cores: &Cores,
    routers: Vec<Router>,
    config: &HttpConfig,
    shutdown: impl Future<Output = ()>,
) -> Connections {
    let connections = Connections(watch::Sender::new(()));
    let room = ConnectionLimiter::of(descriptors::enough_for(config.max_connections));
    let graceful = GracefulShutdown::new();
    let leaving = Arc::new(AtomicBool::new(false));
    let serving = |router| {
        let (config, room, leaving) = (config.clone(), room.clone(), Arc::clone(&leaving));
        Arc::new(Serving { router, config, room, leaving })
    };
    let serving: Vec<_> = routers.into_iter().map(serving).collect();
    let mut shutdown = pin!(async {
        shutdown.await;
        leaving.store(true, Ordering::Relaxed);
        sleep(config.drain_delay).await;
    });
    loop {
        let (stream, permit) = tokio::select! {
            next = next(&listener, &room) => match next {
                Some(next) => next,
                None => continue,
            },
            () = &mut shutdown => break,
        };
        let (watcher, end) = (graceful.watcher(), connections.0.subscribe());
        cores.spawn(|number, open| {
            let serving = serving.get(number).map(Arc::clone);
            async move {
                if let Some(serving) = serving {
                    serving.connection(stream, watcher, end).await;
                }
                drop((open, permit));
            }
        });
    }
    drop(listener);
    tracing::info!(connections = graceful.count(), "draining");
    if timeout(config.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end of DRAIN_TIMEOUT");
    }
    connections
}

/// Bounds the number of connections.
#[derive(Debug, Clone)]
struct ConnectionLimiter {
    permits: Arc<Semaphore>,
    /// The limit is reached, and the next connection has to wait.
    is_full: Arc<AtomicBool>,
}

impl ConnectionLimiter {
    fn of(connections: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(connections)), is_full: Arc::default() }
    }

    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        self.is_full.store(true, Ordering::Relaxed);
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        self.is_full.store(false, Ordering::Relaxed);
        permit
    }
}

/// The open connections, each of which holds a receiver.
#[derive(Debug)]
pub struct Connections(watch::Sender<()>);

impl Connections {
    /// Closes every connection, and waits until the requests dropped with them are logged and counted.
    pub async fn close(self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

/// The next connection, once the limit allows it: until then it waits in the kernel's backlog.
async fn next(listener: &TcpListener, room: &ConnectionLimiter) -> Option<(StdTcpStream, OwnedSemaphorePermit)> {
    let permit = room.enter().await?;
    // Another thread's runtime will drive it.
    match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
        Ok(stream) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
            // These concern one connection; other errors last until a descriptor is closed.
            if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

/// What the connections of a thread share.
struct Serving {
    router: Router,
    config: HttpConfig,
    room: ConnectionLimiter,
    leaving: Arc<AtomicBool>,
}

impl Serving {
    /// Serves a connection to its end, or until `end` changes.
    async fn connection(self: Arc<Self>, stream: StdTcpStream, watcher: Watcher, mut end: watch::Receiver<()>) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "cannot serve a connection"),
        };
        let state = Arc::new(ConnectionState::default());
        let stream = ClientStream::new(stream, self.config.write_timeout, Arc::clone(&state));
        let (serving, shared) = (Arc::clone(&self), Arc::clone(&state));
        let service = service_fn(move |request: Request<Incoming>| {
            // At the limit, keeping this connection open after its response would keep others waiting.
            let full = serving.room.is_full.load(Ordering::Relaxed);
            let serving = Arc::clone(&serving);
            let request = request.map(|body| tracked(body, &shared));
            async move {
                let mut response = serving.router.clone().oneshot(request).await;
                if let (true, Ok(response)) = (full || serving.leaving.load(Ordering::Relaxed), &mut response) {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // It runs from the previous response, so it is also the deadline of an idle connection.
            .header_read_timeout(self.config.keep_alive_timeout)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_READ)
            // A client that has closed its sending side may still wait for its response. So that does not drop a
            // handler, and neither does a lost client, which is detected when the response is written.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            biased;
            ended = watcher.watch(connection) => if let Err(error) = ended {
                ended_early(&error, &state);
            },
            _ = end.changed() => {}
        }
    }
}

/// Counts a connection that ended before its client was done. hyper itself answers unparsable requests and oversized
/// headers, with a status alone; this is their only log line.
fn ended_early(error: &hyper::Error, state: &ConnectionState) {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut};
    let kind = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let foreign = state.foreign().filter(|_| error.is_parse());
    let reason = match (foreign, kind) {
        (Some(foreign), _) => foreign.reason(),
        _ if error.is_parse_too_large() => "headers_too_large",
        _ if error.is_parse() => "unreadable",
        _ if error.is_timeout() => "idle",
        (_, Some(TimedOut)) => "answer_not_taken",
        (_, Some(BrokenPipe | ConnectionReset)) => "client_gone",
        _ => {
            tracing::debug!(%error, "a connection ended early");
            return;
        }
    };
    metrics::counter!("http_connections_closed_total", "reason" => reason).increment(1);
    match foreign {
        Some(foreign) => tracing::info!(error = foreign.error(), reason, "a request that cannot be read"),
        None if error.is_parse() => tracing::info!(%error, reason, "a request that cannot be read"),
        None => tracing::debug!(%error, reason, "a connection ended early"),
    }
}
