//! How long to wait: for a failed event, and for a store that is away.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The waits before the retries of an event that failed: 2, 4 and 8 seconds.
pub fn retry_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new().with_min_delay(Duration::from_secs(2)).with_factor(2.0).with_max_times(3).build()
}

/// The wait after this many attempts; `None` after the last one.
pub(super) fn retry_delay(attempts: u32) -> Option<Duration> {
    retry_delays().nth(usize::try_from(attempts).ok()?.checked_sub(1)?)
}

/// The waits of one outage: growing, capped, with jitter, without a limit on their number.
#[derive(Debug)]
pub(super) struct OutageBackoff {
    builder: ExponentialBuilder,
    now: Option<(ExponentialBackoff, Duration, String)>,
}

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait, before jitter: a recovery is noticed at most this late.
const LONGEST: Duration = Duration::from_secs(5);

impl OutageBackoff {
    pub(super) fn new(seed: u64) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(seed);
        Self { builder, now: None }
    }

    pub(super) fn wait(&mut self, now: Duration, message: String) {
        let mut delays = self.now.take().map_or_else(|| self.builder.build(), |(delays, _, _)| delays);
        let delay = delays.next().unwrap_or(LONGEST);
        self.now = Some((delays, now + delay, message));
    }

    /// Records an outage without a wait: the next try is at once.
    pub(super) fn declare(&mut self, now: Duration, message: String) {
        if self.now.is_none() {
            self.now = Some((self.builder.build(), now, message));
        }
    }

    pub(super) fn over(&mut self) {
        self.now = None;
    }

    pub(super) fn until(&self) -> Option<Duration> {
        self.now.as_ref().map(|(_, until, _)| *until)
    }

    pub(super) fn message(&self) -> Option<&str> {
        self.now.as_ref().map(|(_, _, message)| message.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_retries() {
        let delays: Vec<_> = (0..6).map(|n| retry_delay(n).map(|delay| delay.as_secs())).collect();
        assert_eq!(delays, [None, Some(2), Some(4), Some(8), None, None]);
    }

    #[test]
    fn an_outage_is_waited_out_for_as_long_as_it_takes() {
        let mut backoff = OutageBackoff::new(7);
        let mut now = Duration::ZERO;
        for _ in 0..2_000 {
            backoff.wait(now, String::new());
            let until = backoff.until().unwrap();
            assert!(until > now && until - now <= 2 * LONGEST, "{:?}", until - now);
            now = until;
        }
        assert!(now > Duration::from_secs(3600));
        backoff.over();
        assert_eq!(backoff.until(), None);
    }
}
