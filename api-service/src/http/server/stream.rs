//! A client's connection below HTTP. It recognises other protocols by their first bytes, and lets a client that is still
//! sending read the last answer.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_io_timeout::TimeoutStream;

use super::foreign::Foreign;

/// What is read, and dropped, after the last answer of a connection: closing a socket with unread bytes resets it, and a
/// client that first sends everything would lose its answer (RFC 9112, section 9.6). The times are those of nginx
/// (`lingering_time`, `lingering_timeout`).
const LINGER: Linger =
    Linger { bytes: 64 * 1024 * 1024, timeout: Duration::from_secs(30), silence: Duration::from_secs(5) };
/// The bytes of one such read.
const LINGER_STEP: usize = 16 * 1024;

/// The state of a connection, shared by its stream and its requests.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// Whether the last request, or its body, was not read to its end.
    is_unread: AtomicBool,
    foreign: OnceLock<Foreign>,
}

impl ConnectionState {
    /// The protocol that its client speaks, if it is not HTTP/1.
    pub(super) fn foreign(&self) -> Option<Foreign> {
        self.foreign.get().copied()
    }
}

/// The stream of a connection.
pub(super) struct ClientStream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    state: Arc<ConnectionState>,
    has_begun: bool,
    linger: Linger,
    lingering: Option<Lingering>,
}

/// How much is read after the last answer, for how long, and how long nothing may come meanwhile.
#[derive(Debug, Clone, Copy)]
struct Linger {
    bytes: usize,
    timeout: Duration,
    silence: Duration,
}

/// What is left of it.
struct Lingering {
    bytes: usize,
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration, state: Arc<ConnectionState>) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        Self { stream: Box::pin(stream), state, has_begun: false, linger: LINGER, lingering: None }
    }

    /// Reads until the client closes its side, if it may be sending.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Linger { bytes, timeout, silence } = self.linger;
        let lingering = self.lingering.get_or_insert_with(|| {
            let now = Instant::now();
            Lingering { bytes, end: now + timeout, timer: Box::pin(sleep_until(now + silence.min(timeout))) }
        });
        let mut space = [MaybeUninit::uninit(); LINGER_STEP];
        loop {
            let mut step = ReadBuf::uninit(&mut space);
            match self.stream.as_mut().poll_read(context, &mut step) {
                Poll::Ready(Ok(())) if !step.filled().is_empty() => {
                    self.state.is_unread.store(true, Ordering::Relaxed);
                    lingering.bytes = lingering.bytes.saturating_sub(step.filled().len());
                    let now = Instant::now();
                    if lingering.bytes == 0 || now >= lingering.end {
                        return Poll::Ready(());
                    }
                    lingering.timer.as_mut().reset((now + silence).min(lingering.end));
                }
                // Closed or reset.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.state.is_unread.load(Ordering::Relaxed) => {
                    return lingering.timer.as_mut().poll(context);
                }
                Poll::Pending => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.stream.as_mut().poll_read(context, buffer))?;
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        if !arrived.is_empty() {
            self.state.is_unread.store(true, Ordering::Relaxed);
            if !self.has_begun {
                self.has_begun = true;
                if let Some(foreign) = Foreign::of(arrived) {
                    // It is set once only.
                    let _ = self.state.foreign.set(foreign);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(self.stream.as_mut().poll_shutdown(context))?;
        }
        self.poll_linger(context).map(Ok)
    }
}

/// The body of a request, which tells its connection when it was read to its end.
struct TrackedBody {
    body: Incoming,
    state: Arc<ConnectionState>,
}

/// The body of a request of this connection.
pub(super) fn tracked(body: Incoming, state: &Arc<ConnectionState>) -> Body {
    if hyper::body::Body::is_end_stream(&body) {
        state.is_unread.store(false, Ordering::Relaxed);
        return Body::empty();
    }
    Body::new(TrackedBody { body, state: Arc::clone(state) })
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.state.is_unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::{sleep, timeout};

    use super::*;

    const TICK: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    /// Both ends of a connection whose client has sent a byte that the server has read.
    async fn connected(linger: Linger) -> (TcpStream, ClientStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = ClientStream::new(stream, LONG, Arc::default());
        server.linger = linger;
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        (client, server)
    }

    /// How long the server takes to close the connection while its client goes on like this.
    async fn closed_after(linger: Linger, client: impl AsyncFnOnce(&mut TcpStream)) -> Duration {
        let (mut stream, mut server) = connected(linger).await;
        let start = Instant::now();
        let closing = async {
            server.shutdown().await.unwrap();
            start.elapsed()
        };
        tokio::select! {
            took = timeout(LONG / 2, closing) => took.expect("it is not closed"),
            never = async { client(&mut stream).await; std::future::pending().await } => never,
        }
    }

    async fn send_on(stream: &mut TcpStream) {
        while stream.write_all(b"more").await.is_ok() {
            sleep(TICK / 5).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_is_done_is_not_waited_for() {
        let (_client, mut server) = connected(Linger { bytes: 1 << 20, timeout: LONG, silence: LONG }).await;
        server.state.is_unread.store(false, Ordering::Relaxed);
        timeout(LONG / 2, server.shutdown()).await.expect("it waits").unwrap();
    }

    #[tokio::test]
    async fn a_client_that_sends_is_read_until_it_closes_and_finds_its_answer() {
        let (mut client, mut server) = connected(Linger { bytes: 64 << 20, timeout: LONG, silence: LONG }).await;
        let serving = tokio::spawn(async move {
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
        });
        client.write_all(&vec![0; 20 << 20]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        drop(client);
        timeout(LONG / 2, serving).await.expect("it is not closed").unwrap();
    }

    #[tokio::test]
    async fn reading_on_ends_by_bytes_by_time_and_by_silence() {
        let whole = Linger { bytes: usize::MAX, timeout: LONG, silence: LONG };
        let took = closed_after(Linger { silence: TICK, ..whole }, async |_| {}).await;
        assert!(took >= TICK, "{took:?}");
        let took = closed_after(Linger { timeout: TICK, ..whole }, async |_| {}).await;
        assert!(took >= TICK, "{took:?}");
        let took = closed_after(Linger { timeout: TICK * 4, silence: TICK * 2, ..whole }, send_on).await;
        assert!(took >= TICK * 4, "{took:?}");
        closed_after(Linger { bytes: 1_000, ..whole }, async |stream| {
            stream.write_all(&[0; 1_000]).await.unwrap();
        })
        .await;
    }
}
