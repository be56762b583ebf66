//! How fast a body has to arrive: at any rate at first ([`GRACE`]), then at a least rate, and within a time in all.
//!
//! A body that takes longer than the grace is slow. Slow bodies are limited in number and in memory
//! ([`in_flight`](crate::http::in_flight)); the handler's deadline starts after them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::http::config::HttpConfig;
use crate::http::in_flight::MemoryPermit;
use crate::http::problem::{Code, Problem};

/// How long a body may arrive at any rate.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The limits of time for all bodies.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    grace: Duration,
    timeout: Duration,
    /// Bytes a second, as they are sent.
    min_rate: u32,
    ended: CancellationToken,
}

impl BodyLimits {
    pub fn new(config: &HttpConfig) -> Self {
        Self::of(GRACE, config.body_timeout, config.body_min_rate)
    }

    /// For bodies in tests of their own.
    pub fn of(grace: Duration, timeout: Duration, min_rate: u32) -> Self {
        Self { grace, timeout, min_rate, ended: CancellationToken::new() }
    }

    /// The time, from its start, for a body of which this many bytes have arrived.
    fn due(&self, received: usize) -> Duration {
        let received = u64::try_from(received).unwrap_or(u64::MAX);
        let earned = Duration::from_millis(received.saturating_mul(1_000) / u64::from(self.min_rate.max(1)));
        self.grace.saturating_add(earned).min(self.timeout)
    }

    /// The clock of a body that is about to be read.
    pub fn begin(&self) -> Pace<'_> {
        Pace { limits: self, received: AtomicUsize::new(0), start: OnceLock::new() }
    }

    /// Refuses all slow bodies, now and from now on: the service ends.
    pub fn end(&self) {
        self.ended.cancel();
    }

    fn late(&self) -> Problem {
        let Self { grace, timeout, min_rate, .. } = self;
        let detail = format!(
            "the body did not arrive in time: within {timeout:?}, and after {grace:?} at {min_rate} bytes/s or more"
        );
        Problem::new(Code::REQUEST_TIMEOUT, detail)
    }
}

/// The clock of one body.
#[derive(Debug)]
pub struct Pace<'a> {
    limits: &'a BodyLimits,
    received: AtomicUsize,
    /// When the first wait began.
    start: OnceLock<Instant>,
}

impl Pace<'_> {
    /// Counts bytes that have arrived.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Awaits a part of the body. Errors: 408 if it is late; 503 if the body becomes slow and finds no place among the
    /// slow ones, or if the service ends.
    pub(crate) async fn wait<T>(&self, room: &mut MemoryPermit, part: impl Future<Output = T>) -> Result<T, Problem> {
        let mut part = pin!(part);
        // Most bodies are here already, and need no timer.
        if let Some(part) = ready(part.as_mut()).await {
            return Ok(part);
        }
        let start = *self.start.get_or_init(Instant::now);
        let due = || start + self.limits.due(self.received.load(Ordering::Relaxed));
        loop {
            let next = if room.is_slow() { due() } else { start + self.limits.due(0) };
            tokio::select! {
                biased;
                part = part.as_mut() => return Ok(part),
                () = sleep_until(next) => {}
                () = self.limits.ended.cancelled(), if room.is_slow() => {
                    return Err(Problem::new(Code::SHUTTING_DOWN, "the body did not arrive before this instance ended"));
                }
            }
            // Some may have arrived meanwhile.
            if Instant::now() >= due() {
                return Err(self.limits.late());
            }
            room.slow()?;
        }
    }
}

/// The result, if there is one at once.
async fn ready<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;
    use crate::http::in_flight::InFlight;

    const TICK: Duration = Duration::from_millis(20);

    proptest! {
        /// A sender that keeps the least rate from the first byte on is never late, one that stays below it is, and
        /// nobody has more than the whole time.
        #[test]
        fn a_body_is_due_by_what_has_arrived(
            rate in 1_u32..1_000_000, received in 0_usize..100_000_000, more in 0_usize..100_000, timeout in 0_u64..600,
        ) {
            let limits = BodyLimits::of(GRACE, Duration::from_secs(timeout), rate);
            let due = limits.due(received);
            prop_assert!(due <= limits.timeout);
            prop_assert!(limits.due(received + more) >= due);
            let least = GRACE.as_secs_f64() + received as f64 / f64::from(rate);
            let expected = least.min(limits.timeout.as_secs_f64());
            prop_assert!((due.as_secs_f64() - expected).abs() < 0.002, "{due:?}, not {expected}");
        }
    }

    /// Sends these pieces, one each tick.
    async fn send(limits: &BodyLimits, in_flight: &InFlight, pieces: &[usize]) -> Result<(), Problem> {
        let mut room = in_flight.empty().of("a");
        let pace = limits.begin();
        for piece in pieces {
            pace.wait(&mut room, sleep(TICK)).await?;
            pace.received(*piece);
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_is_here_needs_no_clock() {
        let limits = BodyLimits::of(Duration::ZERO, Duration::ZERO, 1);
        let pace = limits.begin();
        let mut room = InFlight::new(0).empty();
        for _ in 0..3 {
            assert_eq!(pace.wait(&mut room, std::future::ready(7)).now_or_never().unwrap().unwrap(), 7);
        }
        assert!(pace.start.get().is_none() && !room.is_slow());
    }

    #[tokio::test]
    async fn a_slow_body_goes_on_as_long_as_it_arrives_and_there_is_a_place() {
        let in_flight = InFlight::of_bodies(1_000, 1);
        // Each piece is worth three hours.
        let limits = BodyLimits::of(TICK * 3 / 2, Duration::from_secs(60), 1);
        send(&limits, &in_flight, &[10_000; 10]).await.unwrap();
        let mut other = in_flight.empty();
        other.slow().unwrap();
        assert_eq!(send(&limits, &in_flight, &[10_000; 10]).await.unwrap_err().code, Code::OVERLOADED);
        other.arrived();
        send(&limits, &in_flight, &[10_000; 10]).await.unwrap();
        // Within the grace none counts as slow.
        let none = InFlight::of_bodies(1_000, 0);
        send(&BodyLimits::of(Duration::from_secs(60), Duration::from_secs(60), 1), &none, &[0; 3]).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_is_late_below_the_rate_or_beyond_the_whole_time() {
        let in_flight = InFlight::of_bodies(1_000, 9);
        let long = Duration::from_secs(60);
        for (limits, piece) in [
            (BodyLimits::of(TICK * 3 / 2, long, 1), 0),
            // A piece is worth a millisecond, less than its tick.
            (BodyLimits::of(TICK * 3 / 2, long, 1_000), 1),
            (BodyLimits::of(TICK * 3 / 2, TICK * 3, 1), 10_000),
            (BodyLimits::of(long, TICK * 3, 1), 10_000),
        ] {
            let late = send(&limits, &in_flight, &[piece; 100]).await.unwrap_err();
            assert_eq!(late.code, Code::REQUEST_TIMEOUT, "{limits:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_service_refuses_slow_bodies_only() {
        let in_flight = InFlight::of_bodies(1_000, 9);
        let limits = BodyLimits::of(TICK * 3 / 2, Duration::from_secs(60), 1);
        limits.end();
        assert_eq!(send(&limits, &in_flight, &[10_000; 10]).await.unwrap_err().code, Code::SHUTTING_DOWN);
        let limits = BodyLimits { grace: Duration::from_secs(30), ..limits };
        send(&limits, &in_flight, &[0; 2]).await.unwrap();
    }
}
