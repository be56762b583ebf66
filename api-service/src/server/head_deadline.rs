//! A deadline for a request's headers that starts with their first byte, and not while the
//! connection is idle: a load balancer keeps idle connections for longer than any headers take.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How often the connection went from waiting for headers to a request and back: even while it
/// waits. Shared by a connection and its service.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase(Arc<AtomicU64>);

impl Phase {
    /// The headers are in.
    pub(super) fn in_request(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered; what comes now is the next one.
    pub(super) fn between_requests(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection whose reads fail once headers that have begun take too long.
pub(super) struct HeadDeadline {
    stream: TcpStream,
    phase: Phase,
    timeout: Duration,
    /// When the first byte of headers came, and in which phase: in a later one these headers are
    /// complete, however quickly their request was answered.
    begun: Option<(u64, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeadDeadline {
    pub(super) fn new(stream: TcpStream, phase: Phase, timeout: Duration) -> Self {
        Self { stream, phase, timeout, begun: None, timer: None }
    }
}

impl AsyncRead for HeadDeadline {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let phase = this.phase.now();
        this.begun = this.begun.filter(|(begun_in, _)| *begun_in == phase);
        if !phase.is_multiple_of(2) {
            return read;
        }
        if buffer.filled().len() > before {
            this.begun.get_or_insert_with(|| (phase, Instant::now()));
        }
        let Some((_, begun)) = this.begun else { return read };
        let deadline = begun + this.timeout;
        if read.is_ready() {
            // Headers that trickle in are late all the same.
            return if Instant::now() >= deadline { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read };
        }
        // Made at the first wait within headers, which most requests never see.
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for HeadDeadline {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
