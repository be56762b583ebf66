//! The bound of the outbox: while Kafka is away, commands go on until too many of their events wait.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::gauge;
use shared::store::Store;
use shared::store::outbox::relay::{backlog, backlog_at_most};
use tokio::time::sleep;

use crate::http::problem::{Code, Problem};

/// How often the rows are counted. In between, commands may write more than the bound.
const EVERY: Duration = Duration::from_secs(5);
/// The `Retry-After` of a command that is refused, in seconds: until the rows are counted again.
const RETRY: u32 = 5;
/// Whether commands are refused.
pub(super) const FULL: &str = "outbox_full";

/// Whether the outbox has room for further events. Clones share it.
#[derive(Debug, Clone)]
pub struct OutboxLimit {
    store: Store,
    most: u32,
    is_full: Arc<AtomicBool>,
}

impl OutboxLimit {
    /// The limit of this database's outbox: so many rows. [`Self::run`] must run in the background.
    pub fn new(store: Store, most: u32) -> Self {
        Self { store, most, is_full: Arc::default() }
    }

    /// Refuses a command while there is no room: 503.
    pub fn admit(&self) -> Result<(), Problem> {
        if !self.is_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let detail = format!("more than {} events wait until Kafka takes them: nothing was done", self.most);
        Err(Problem::new(Code::OUTBOX_FULL, detail).retry_after(RETRY))
    }

    /// Counts, forever. While PostgreSQL does not answer at all, the last count stands: commands fail then anyway.
    pub async fn run(&self) {
        let most = i64::from(self.most);
        let mut is_failing = false;
        loop {
            let rows = match backlog(&self.store, most.saturating_add(1)).await {
                Ok((rows, _)) => {
                    if mem::take(&mut is_failing) {
                        tracing::info!("can count the rows of the outbox again");
                    }
                    Some(rows)
                }
                Err(error) => {
                    if !mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot count the rows of the outbox: its ids bound their number");
                    }
                    // Counting may take too long for as long as there are many rows. This never counts too few, but too
                    // many where ids are missing: so it decides only while nothing better is known.
                    backlog_at_most(&self.store).await.ok()
                }
            };
            if let Some(rows) = rows {
                self.note(rows > most);
            }
            sleep(EVERY).await;
        }
    }

    fn note(&self, is_full: bool) {
        gauge!(FULL).set(if is_full { 1.0 } else { 0.0 });
        if self.is_full.swap(is_full, Ordering::Relaxed) == is_full {
            return;
        }
        if is_full {
            tracing::error!(most = self.most, "the outbox is full: commands are refused until the relay has published");
        } else {
            tracing::info!("the outbox has room again");
        }
    }
}
