//! Forgets events after `EVENTS_RETENTION`.

use std::time::Duration;

use shared::store::{PRUNE_ROWS, Store};

/// The wait after there was nothing more to forget.
const PAUSE: Duration = Duration::from_secs(60);
/// The wait between two pieces: the events that come in have precedence.
const BREATH: Duration = Duration::from_millis(200);

/// Forgets, piece by piece, for ever.
pub async fn run(store: Store, older_than: Duration) {
    loop {
        tokio::time::sleep(PAUSE).await;
        loop {
            match store.prune(older_than).await {
                Ok(0) => break,
                Ok(rows) => {
                    metrics::counter!("events_pruned_total").increment(rows);
                    tracing::info!(rows, "forgot events after their retention");
                    if rows < PRUNE_ROWS.unsigned_abs() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot forget events now");
                    break;
                }
            }
            tokio::time::sleep(BREATH).await;
        }
    }
}
