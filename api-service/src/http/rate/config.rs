//! The rate limits of each subject.

use anyhow::ensure;
use clap::{Args, value_parser};
use shared::runtime::config::trimmed;

const MOST: i64 = 1_000_000;
const MOST_AT_ONCE: i64 = 10 * MOST;

/// How much each subject (a token's `sub`) may ask of this instance. Instances do not know of each
/// other: with n of them behind a load balancer it is up to n times as much.
#[derive(Debug, Clone, Args)]
pub struct RateConfig {
    /// How many events a second each subject may send to this instance, on average, up to 1000000; 0: no limit.
    #[arg(long, env, default_value_t = 0, value_parser = trimmed(value_parser!(u32).range(..=MOST)))]
    pub rate_limit_events_per_second: u32,
    /// How many events a subject may send at once, and so in a batch, from 1 to 10000000. If it is not set, the number
    /// for ten seconds.
    #[arg(long, env, value_parser = trimmed(value_parser!(u32).range(1..=MOST_AT_ONCE)))]
    pub rate_limit_burst: Option<u32>,
    /// How many resources a second each subject may read from this instance, on average, up to 1000000; 0: no limit.
    #[arg(long, env, default_value_t = 0, value_parser = trimmed(value_parser!(u32).range(..=MOST)))]
    pub rate_limit_reads_per_second: u32,
    /// How many resources a subject may read at once, and so in a query, from 1 to 10000000. If it is not set, the
    /// number for ten seconds.
    #[arg(long, env, value_parser = trimmed(value_parser!(u32).range(1..=MOST_AT_ONCE)))]
    pub rate_limit_read_burst: Option<u32>,
}

impl RateConfig {
    /// Warns if a batch of `most` events never fits. To be called at the start.
    pub(crate) fn warn(&self, most: usize) {
        if let Some(burst) = self.too_small_for(most) {
            tracing::warn!(
                burst,
                "batches may have {most} events, and those of more than RATE_LIMIT_BURST are always refused (413): \
                 forwarders drop them. Set it to {most}, or their batches to what it is"
            );
        }
    }

    fn too_small_for(&self, most: usize) -> Option<u32> {
        let per_second = self.rate_limit_events_per_second;
        let burst = burst(per_second, self.rate_limit_burst);
        (per_second > 0 && usize::try_from(burst).is_ok_and(|burst| burst < most)).then_some(burst)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let events = (self.rate_limit_burst.is_some(), self.rate_limit_events_per_second);
        ensure!(events != (true, 0), "RATE_LIMIT_BURST is set, and RATE_LIMIT_EVENTS_PER_SECOND is not");
        let reads = (self.rate_limit_read_burst.is_some(), self.rate_limit_reads_per_second);
        ensure!(reads != (true, 0), "RATE_LIMIT_READ_BURST is set, and RATE_LIMIT_READS_PER_SECOND is not");
        Ok(())
    }
}

/// The burst, by default the number for ten seconds.
pub(super) fn burst(per_second: u32, set: Option<u32>) -> u32 {
    set.unwrap_or_else(|| per_second.saturating_mul(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_a_full_batch_never_fits_is_told() {
        for (per_second, set, small) in [
            (0, None, None),
            (50, None, Some(500)),
            (99, None, Some(990)),
            (100, None, None),
            (1, Some(1_000), None),
            (1_000, Some(999), Some(999)),
        ] {
            let config = RateConfig {
                rate_limit_events_per_second: per_second,
                rate_limit_burst: set,
                rate_limit_reads_per_second: 1,
                rate_limit_read_burst: None,
            };
            assert_eq!(config.too_small_for(1_000), small, "{per_second} a second, {set:?}");
        }
    }
}
