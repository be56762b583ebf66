//! Forgets events after `EVENTS_RETENTION`.

use std::time::Duration;

use rdkafka::ClientConfig;
use shared::store::{PRUNE_ROWS, Store};
use shared::topic::setup;

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

/// Says so where events would be forgotten while the topic still has their records.
pub async fn compare_with_topic(client: ClientConfig, topic: String, older_than: Duration) {
    match setup::retention(&client, &topic).await {
        Ok(Some(kept)) if kept < older_than => {}
        Ok(kept) => tracing::warn!(
            ?older_than, topic_keeps = ?kept,
            "EVENTS_RETENTION is not longer than the topic's retention: a replay may apply an event twice"
        ),
        Err(error) => tracing::warn!(error = format!("{error:#}"), "the topic's retention is not told"),
    }
}
