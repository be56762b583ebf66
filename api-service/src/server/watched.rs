//! A connection with the deadlines that hyper does not have.
//!
//! One for a request's headers that starts with their first byte, and not while the connection is
//! idle: a load balancer keeps idle connections for longer than any headers take. And one for the
//! client to take its answer. (Where a head begins behind the request before it, hyper has taken its first
//! bytes in already: until more of it comes the connection counts as idle, and ends as one.)
//!
//! Beside that, hyper's own answers to what it cannot read become problems here, see
//! [`unread`](super::unread).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::deadline::Deadline;
use super::seat::Seat;
use super::unread;

/// How much of what cannot be read is taken in before its connection is closed, and for how long:
/// one that is closed with bytes unread is reset, and the answer may be lost with it.
const DISCARD: usize = 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_millis(500);

/// A connection whose reads fail once headers take too long, and whose writes fail once the answer
/// is not taken.
pub(super) struct Watched {
    stream: TcpStream,
    seat: Arc<Seat>,
    header_timeout: Duration,
    write_timeout: Duration,
    /// The phase in which headers have begun, and when they have to be there: in a later phase they
    /// are complete, however quickly their request was answered.
    head: (u64, Deadline),
    /// Not one byte has come.
    silent: bool,
    /// Set while the client takes nothing in.
    answer: Deadline,
    /// What is sent instead of an answer of hyper's own, as far as it is not sent yet.
    instead: Bytes,
    /// Set once the last answer is given: how much may still be taken in, and until when.
    end: Option<(usize, Deadline)>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, seat: Arc<Seat>, header_timeout: Duration, write_timeout: Duration) -> Self {
        let mut this = Self {
            stream,
            seat,
            header_timeout,
            write_timeout,
            head: (0, Deadline::default()),
            silent: true,
            answer: Deadline::default(),
            instead: Bytes::new(),
            end: None,
        };
        // Who connects has something to say.
        this.head.1.set(header_timeout);
        this
    }

    /// What came of a write, unless the client has been taking in nothing for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            if let Err(error) = &written
                && matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
            {
                metrics::counter!("http_connections_closed_total", "reason" => "client_gone").increment(1);
            }
            return Poll::Ready(written);
        }
        self.answer.set(self.write_timeout);
        ready!(self.answer.poll_passed(cx));
        metrics::counter!("http_connections_closed_total", "reason" => "answer_not_taken").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether these bytes are an answer of hyper's own; then another one waits to be sent.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if !self.seat.phase().is_multiple_of(2) {
            return false;
        }
        let Some(problem) = unread::instead_of(bytes) else { return false };
        self.instead = problem;
        self.end = Some((DISCARD, Deadline::default()));
        true
    }

    /// Sends what is to be sent instead.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.instead.has_remaining() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.instead);
            match ready!(self.in_time(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.instead.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what is under way from a client that was told that it cannot be read.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((left, until)) = &mut self.end else { return Poll::Ready(()) };
        until.set(DISCARD_FOR);
        let mut part = [0; 4096];
        while *left > 0 && until.poll_passed(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut part);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let phase = this.seat.phase();
        let (begun_in, head) = &mut this.head;
        if *begun_in != phase {
            head.lift();
        }
        if !phase.is_multiple_of(2) {
            return read;
        }
        if buffer.filled().len() > before {
            *begun_in = phase;
            head.set(this.header_timeout);
            this.silent = false;
            this.seat.busy();
        }
        if read.is_ready() {
            // Headers that trickle in are late all the same.
            return if head.has_passed() { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { read };
        }
        if (this.silent || !head.is_set()) && !this.answer.is_set() {
            this.seat.idle();
        }
        ready!(head.poll_passed(cx));
        metrics::counter!("http_connections_closed_total", "reason" => "headers_late").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.in_time(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [bytes] = slices
            && this.replaces(bytes)
        {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when all that it had is written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_instead(cx))?;
        this.answer.lift();
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_instead(cx))?;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        this.poll_discard(cx).map(Ok)
    }
}
