//! A term of the relay: one producer, from its begin to its first error. Runs on a thread of its own, because the calls
//! of a transactional producer block.
//!
//! The order of the steps makes each event appear once. The producer shuts out all earlier ones first; then nobody else
//! appends events of this outbox, and the topic is compared with the outbox; then rows are published and deleted. Whatever
//! goes wrong, the next term begins at the first step.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use shared::runtime::sabotage::makes;
use shared::store::outbox::relay::{self, OutboxRow, RelayRow};
use shared::store::{Failure, Store};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::producer::{BATCH_BYTES, Transactional, transactional_id};
use super::reconcile::Reconciliation;
use super::window::{Numbered, Window};
use crate::source::Source;

/// The least time between the begins of two transactions of few events: a transaction costs about as much for one event
/// as for twenty.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(10);
const SMALL_BATCH: usize = 100;
/// How long an idle relay waits until it asks by itself, in milliseconds: at random, so that those of several databases
/// on one server do not ask together. Below a second, within which the pool does not test a connection. Each third time
/// the renewal of the lease asks instead.
const IDLE_MILLIS: std::ops::Range<u64> = 970..990;

/// What the term and the task that renews its lease tell each other.
#[derive(Debug)]
pub struct Shared {
    /// There may be new rows.
    pub bell: Notify,
    /// Behind which id the term reads.
    pub after: AtomicI64,
    /// When the outbox was last found empty, or read.
    pub looked: Mutex<Instant>,
    /// When the term last made progress.
    pub progress: Mutex<Instant>,
}

impl Default for Shared {
    fn default() -> Self {
        let now = Instant::now();
        Self { bell: Notify::new(), after: AtomicI64::new(0), looked: now.into(), progress: now.into() }
    }
}

/// Called between a commit in Kafka and the deletion of its rows.
pub type Published = Arc<dyn Fn() + Send + Sync>;

/// A term, and what it needs.
pub struct Term {
    pub runtime: Handle,
    pub store: Store,
    pub client: ClientConfig,
    pub source: Source,
    pub holder: String,
    pub row: RelayRow,
    pub batch_rows: u32,
    pub shared: Arc<Shared>,
    pub published: Published,
    pub stop: CancellationToken,
}

impl Term {
    /// Publishes until the first error, or until it is told to stop. Blocks its thread.
    pub fn run(&self) -> End {
        match self.publish_all() {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    fn publish_all(&self) -> Result<std::convert::Infallible, End> {
        let topic = &self.source.topics.input;
        let id = transactional_id(&self.row.identity, topic);
        let producer = Transactional::open(&self.client, topic, &id, &self.stop).map_err(End::Kafka)?;
        if !makes("unreconciled-relay") {
            let reconciliation = Reconciliation {
                runtime: &self.runtime,
                store: &self.store,
                client: &self.client,
                producer: &producer,
                source: &self.source,
                holder: &self.holder,
                progress: &|| self.goes_on(),
                stop: &self.stop,
            };
            let deleted = reconciliation.run(&self.row.offsets)?;
            counter!("outbox_reconciled_total").increment(deleted);
            tracing::info!(holder = self.holder, topic, deleted, "this worker publishes the outbox");
        }
        let (started, mut window) = (Instant::now(), Window::default());
        let mut paced: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            self.goes_on();
            if let Some(since) = paced.take() {
                // Events gather in the outbox.
                std::thread::sleep((since + MIN_BATCH_INTERVAL).saturating_duration_since(Instant::now()));
            }
            let began = Instant::now();
            let rows = self.read(&mut window, began.duration_since(started))?;
            if rows.is_empty() {
                self.wait();
                continue;
            }
            self.publish(&producer, &rows)?;
            window.published(started.elapsed(), &numbered(&rows));
            paced = (rows.len() < SMALL_BATCH).then_some(began);
        }
        Err(End::Stopped)
    }

    /// The next rows. Whatever they are, no row of their aggregates before them is missing.
    fn read(&self, window: &mut Window, now: Duration) -> Result<Vec<OutboxRow>, End> {
        let read = |after| {
            let read = relay::read(&self.store, after, self.batch_rows, BATCH_BYTES);
            self.runtime.block_on(read).map_err(End::Postgres)
        };
        let mut after = window.next(now);
        let mut rows = read(after)?;
        if after > 0 && window.may_lack(&numbered(&rows)) {
            after = 0;
            rows = read(after)?;
        }
        if let Some(aggregate) = window.goes_back(&numbered(&rows)) {
            // The next term compares the outbox with the topic.
            let again = format!("the outbox has a number of {aggregate} again that is published: it has gone back");
            return Err(End::Postgres(Failure::outage(again)));
        }
        let is_full = u32::try_from(rows.len()).is_ok_and(|read| read >= self.batch_rows);
        window.read(now, after, &numbered(&rows), is_full);
        *self.shared.looked.lock() = Instant::now();
        self.shared.after.store(window.after(now), Ordering::Relaxed);
        Ok(rows)
    }

    fn publish(&self, producer: &Transactional, rows: &[OutboxRow]) -> Result<(), End> {
        let published = producer.publish(rows);
        let outcome = if published.is_ok() { "committed" } else { "failed" };
        counter!("outbox_transactions_total", "outcome" => outcome).increment(1);
        let ends = published.map_err(|error| if producer.is_fenced() { End::Fenced } else { End::Kafka(error) })?;
        let now = OffsetDateTime::now_utc();
        for row in rows {
            histogram!("outbox_publish_seconds").record((now - row.written_at).as_seconds_f64().max(0.0));
        }
        counter!("outbox_published_total").increment(rows.len() as u64);
        self.goes_on();
        (self.published)();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let deleted = relay::published(&self.store, &self.holder, &ids, &ends);
        // The next holder finds them in the topic.
        if self.runtime.block_on(deleted).map_err(End::Postgres)? { Ok(()) } else { Err(End::LeaseLost) }
    }

    /// Waits for a ring, or until it is time to ask. Whoever renews the lease may have asked meanwhile.
    fn wait(&self) {
        let idle = Duration::from_millis(fastrand::u64(IDLE_MILLIS));
        self.runtime.block_on(async {
            loop {
                let due = *self.shared.looked.lock() + idle;
                tokio::select! {
                    () = self.shared.bell.notified() => return,
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep_until(due.into()) => {}
                }
                if *self.shared.looked.lock() + idle <= due {
                    return;
                }
                self.goes_on();
            }
        });
    }

    fn goes_on(&self) {
        *self.shared.progress.lock() = Instant::now();
    }
}

fn numbered(rows: &[OutboxRow]) -> Vec<Numbered<'_>> {
    rows.iter().map(|row| Numbered { id: row.id, aggregate: &row.aggregate, sequence: row.sequence }).collect()
}
