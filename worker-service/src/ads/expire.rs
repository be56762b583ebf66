//! Deletes ad events after `ADS_EVENTS_RETENTION`; the sums stay.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::ads::queries;
use shared::store::{Failure, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::consumer::expiry::{self, Expired, Expiry};

/// The task's name.
pub const TASK: &str = "ads-expire";

pub fn describe() {
    describe_counter!("ads_events_pruned_total", "Ad events deleted after ADS_EVENTS_RETENTION.");
    describe_gauge!(
        "ads_expiry_behind_seconds",
        "How long ad events may have existed beyond ADS_EVENTS_RETENTION, and notes of unsure impressions beyond three \
         days, as far as this worker knows."
    );
    counter!("ads_events_pruned_total").increment(0);
}

/// Deletes piece by piece until `stop` is cancelled. `since` is the start of this worker.
pub async fn run(store: Store, older_than: Duration, since: Instant, stop: CancellationToken) {
    let all = [Rows::Events { older_than }, Rows::Unsure].map(|rows| Expiring { store: store.clone(), rows });
    expiry::run(TASK, &all, since, stop).await;
}

struct Expiring {
    store: Store,
    rows: Rows,
}

enum Rows {
    Events {
        older_than: Duration,
    },
    /// What was noted of impressions that were taken unsure.
    Unsure,
}

impl Expiry for Expiring {
    async fn expire(&self, piece: u32) -> Result<Expired, Failure> {
        let rows = match self.rows {
            Rows::Events { older_than } => queries::expire(&self.store, older_than, piece).await?,
            Rows::Unsure => Some(queries::expire_unsure(&self.store, piece).await?),
        };
        Ok(Expired::of(rows, piece))
    }

    fn deleted(&self, rows: u64) {
        if let Rows::Events { .. } = self.rows {
            counter!("ads_events_pruned_total").increment(rows);
        }
    }

    fn behind(&self, behind: Duration) {
        let rows = match self.rows {
            Rows::Events { .. } => "events",
            Rows::Unsure => "unsure",
        };
        gauge!("ads_expiry_behind_seconds", "rows" => rows).set(behind.as_secs_f64());
    }
}
