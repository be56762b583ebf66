//! How much waits in the outbox. Every worker that may publish tells it, so that alerts also notice if none does.

use std::time::Duration;

use metrics::{describe_gauge, gauge};
use shared::store::Store;
use shared::store::outbox::relay;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(10);
/// Counting takes time; beyond this the number is not exact.
const MOST: i64 = 1_000_000;
/// A first event that waits for longer than this has a line in the log, once in as long a time: what has no Prometheus
/// alarms by it.
const LONG: Duration = Duration::from_secs(60);

pub fn describe() {
    describe_gauge!("outbox_rows", "Events of the outbox that are not published yet, at most 1000000.");
    describe_gauge!("outbox_oldest_seconds", "How long the first event of the outbox has waited.");
}

/// Shows it until `stop` is cancelled. Without an answer of PostgreSQL the last values stay, and age.
pub async fn run(store: Store, stop: CancellationToken) {
    let (mut rows, mut since) = (0, None);
    let mut told: Option<Instant> = None;
    loop {
        match relay::backlog(&store, MOST).await {
            Ok(found) => {
                (rows, since) = found;
                gauge!("outbox_rows").set(rows as f64);
            }
            Err(error) => tracing::debug!(%error, "cannot count the outbox"),
        }
        let age = since.map_or(0.0, |since| (OffsetDateTime::now_utc() - since).as_seconds_f64());
        gauge!("outbox_oldest_seconds").set(age.max(0.0));
        if age > LONG.as_secs_f64() && told.is_none_or(|told| told.elapsed() >= LONG) {
            told = Some(Instant::now());
            tracing::warn!(rows, oldest_s = age.round(), "events of the outbox wait to be published");
        }
        if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}
