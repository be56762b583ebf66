//! Deletes events after `EVENTS_RETENTION`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::devices::queries::{self, Age};
use shared::store::{Failure, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::consumer::expiry::{self, Expired, Expiry};

/// The task's name.
pub const TASK: &str = "devices-expire";

pub fn describe() {
    describe_counter!("events_pruned_total", "Events deleted after EVENTS_RETENTION.");
    describe_gauge!(
        "events_expiry_behind_seconds",
        "How long events may have existed beyond EVENTS_RETENTION, as far as this worker knows."
    );
    counter!("events_pruned_total").increment(0);
}

/// Deletes piece by piece until `stop` is cancelled. `since` is the start of this worker.
pub async fn run(store: Store, older_than: Duration, since: Instant, stop: CancellationToken) {
    let all = [Age::Written, Age::Appended].map(|age| Events { store: store.clone(), older_than, age });
    expiry::run(TASK, &all, since, stop).await;
}

/// The events of one kind.
struct Events {
    store: Store,
    older_than: Duration,
    age: Age,
}

impl Expiry for Events {
    async fn expire(&self, rows: u32) -> Result<Expired, Failure> {
        let expired = queries::expire(&self.store, self.age, self.older_than, rows).await?;
        Ok(match expired {
            queries::Expired::Elsewhere => Expired::Elsewhere,
            queries::Expired::Rows { rows, more, behind } => Expired::Rows { rows, more, behind },
        })
    }

    fn deleted(&self, rows: u64) {
        counter!("events_pruned_total").increment(rows);
    }

    fn behind(&self, behind: Duration) {
        let rows = match self.age {
            Age::Written => "written",
            Age::Appended => "appended",
        };
        gauge!("events_expiry_behind_seconds", "rows" => rows).set(behind.as_secs_f64());
    }
}
