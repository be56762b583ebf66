//! Deletes validations that have ended, after `VALIDATIONS_RETENTION`: the findings of one may be some megabytes.

use std::ops::RangeInclusive;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::placements::queries::validations::expire_validations;
use shared::runtime::config::duration_in;
use shared::store::{Failure, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::consumer::expiry::{self, Expired, Expiry};

/// The task's name.
pub const TASK: &str = "validations-expire";

const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * YEAR);
/// 365.25 days, as humantime reads `1year`.
const YEAR: u64 = 31_557_600;

pub fn describe() {
    describe_counter!("validations_expired_total", "Validations that were deleted after VALIDATIONS_RETENTION.");
    describe_gauge!(
        "validations_expiry_behind_seconds",
        "How long validations may have existed beyond VALIDATIONS_RETENTION, as far as this worker knows."
    );
    counter!("validations_expired_total").increment(0);
}

/// The validations of videos.
#[derive(Debug, Clone, clap::Args)]
pub struct ValidationsExpiryConfig {
    /// How long a validation is kept after its end, from 1m to 100years.
    #[arg(long, env, default_value = "30days", value_parser = duration_in(RETENTIONS))]
    pub validations_retention: Duration,
}

/// Deletes piece by piece until `stop` is cancelled. `since` is the start of this worker.
pub async fn run(store: Store, older_than: Duration, since: Instant, stop: CancellationToken) {
    expiry::run(TASK, &[Validations { store, older_than }], since, stop).await;
}

struct Validations {
    store: Store,
    older_than: Duration,
}

impl Expiry for Validations {
    async fn expire(&self, piece: u32) -> Result<Expired, Failure> {
        Ok(Expired::of(expire_validations(&self.store, self.older_than, piece).await?, piece))
    }

    fn deleted(&self, rows: u64) {
        counter!("validations_expired_total").increment(rows);
    }

    fn behind(&self, behind: Duration) {
        gauge!("validations_expiry_behind_seconds").set(behind.as_secs_f64());
    }
}
