//! Deletes what repeats were recognised by: rows of the inbox after `INBOX_RETENTION`, answers to commands after
//! `IDEMPOTENCY_RETENTION`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use shared::store::{Failure, Store, idempotency, inbox as taken};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::consumer::expiry::{self, Expired, Expiry};

/// The task that expires the inbox.
pub const INBOX: &str = "inbox-expire";
/// The task that expires answers to commands.
pub const KEYS: &str = "keys-expire";

pub fn describe() {
    describe_counter!("inbox_expired_total", "Rows of the inbox that were deleted after INBOX_RETENTION.");
    describe_gauge!(
        "inbox_expiry_behind_seconds",
        "How long rows of the inbox may have existed beyond INBOX_RETENTION, as far as this worker knows."
    );
    describe_counter!(
        "idempotency_keys_expired_total",
        "Answers to commands that were deleted after IDEMPOTENCY_RETENTION."
    );
    describe_gauge!(
        "idempotency_keys_expiry_behind_seconds",
        "How long answers may have existed beyond IDEMPOTENCY_RETENTION, as far as this worker knows."
    );
    counter!("inbox_expired_total").increment(0);
    counter!("idempotency_keys_expired_total").increment(0);
}

/// Expires the inbox piece by piece until `stop` is cancelled. `since` is the start of this worker.
pub async fn inbox(store: Store, older_than: Duration, since: Instant, stop: CancellationToken) {
    expiry::run(INBOX, &[Inbox { store, older_than }], since, stop).await;
}

/// Expires answers to commands, likewise.
pub async fn keys(store: Store, older_than: Duration, since: Instant, stop: CancellationToken) {
    expiry::run(KEYS, &[Keys { store, older_than }], since, stop).await;
}

struct Inbox {
    store: Store,
    older_than: Duration,
}

impl Expiry for Inbox {
    async fn expire(&self, piece: u32) -> Result<Expired, Failure> {
        Ok(Expired::of(taken::expire_inbox(&self.store, self.older_than, piece).await?, piece))
    }

    fn deleted(&self, rows: u64) {
        counter!("inbox_expired_total").increment(rows);
    }

    fn behind(&self, behind: Duration) {
        gauge!("inbox_expiry_behind_seconds").set(behind.as_secs_f64());
    }
}

struct Keys {
    store: Store,
    older_than: Duration,
}

impl Expiry for Keys {
    async fn expire(&self, piece: u32) -> Result<Expired, Failure> {
        Ok(Expired::of(idempotency::expire_keys(&self.store, self.older_than, piece).await?, piece))
    }

    fn deleted(&self, rows: u64) {
        counter!("idempotency_keys_expired_total").increment(rows);
    }

    fn behind(&self, behind: Duration) {
        gauge!("idempotency_keys_expiry_behind_seconds").set(behind.as_secs_f64());
    }
}
