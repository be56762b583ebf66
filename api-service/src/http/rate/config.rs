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
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let events = (self.rate_limit_burst.is_some(), self.rate_limit_events_per_second);
        ensure!(events != (true, 0), "RATE_LIMIT_BURST is set, and RATE_LIMIT_EVENTS_PER_SECOND is not");
        let reads = (self.rate_limit_read_burst.is_some(), self.rate_limit_reads_per_second);
        ensure!(reads != (true, 0), "RATE_LIMIT_READ_BURST is set, and RATE_LIMIT_READS_PER_SECOND is not");
        Ok(())
    }
}
