//! Reads what the topic has since it was last known, and deletes those rows of the outbox.
//!
//! So a relay that ended between Kafka's commit and the deletion publishes nothing twice. And after PostgreSQL was
//! restored to an earlier time, no event is repeated and no number is used again.

use std::time::{Duration, Instant};

use metrics::counter;
use rdkafka::ClientConfig;
use shared::store::Store;
use shared::store::outbox::relay::{self, Found, Offsets};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::lost;
use super::producer::Transactional;
use super::record::of_outbox;
use crate::dead_letters::read::{Reader, Span};
use crate::source::Source;

/// Rows that are deleted together.
const CHUNK: usize = 10_000;
/// How long to wait for another producer's transaction: behind it nothing can be read.
const STABLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The same after one was aborted: its marker is written soon.
const ENDED_TIMEOUT: Duration = Duration::from_secs(5);
const STABLE_INTERVAL: Duration = Duration::from_millis(100);

/// What a reconciliation needs.
pub struct Reconciliation<'a> {
    pub runtime: &'a Handle,
    pub store: &'a Store,
    pub client: &'a ClientConfig,
    /// It has shut out all earlier relays.
    pub producer: &'a Transactional,
    pub source: &'a Source,
    pub holder: &'a str,
    /// Called while it goes on.
    pub progress: &'a dyn Fn(),
    pub stop: &'a CancellationToken,
}

impl Reconciliation<'_> {
    /// Reads from these offsets to the end that the log has now, and returns how many rows it deleted. Blocks its
    /// thread.
    pub fn run(&self, known: &Offsets) -> Result<u64, End> {
        let topic = &self.source.topics.input;
        let reader = Reader::open(self.client, topic, &self.source.group).map_err(End::Kafka)?;
        let spans = self.stable(&reader)?;
        let (mut found, mut ends, mut deleted) = (Vec::new(), Offsets::new(), 0);
        for Span { partition, from: first, to } in spans {
            ends.insert(partition, to);
            // An offset that the log does not have belongs to an earlier topic of this name.
            let from = known.get(&partition).copied().filter(|known| (first..=to).contains(known)).unwrap_or(first);
            let mut failed = None;
            let read = reader.read(Span { partition, from, to }, |record| {
                found.extend(of_outbox(&record));
                if found.len() >= CHUNK {
                    match self.delete(&mut found, &Offsets::new()) {
                        Ok(rows) => deleted += rows,
                        Err(end) => failed = Some(end),
                    }
                }
                failed.is_none() && !self.stop.is_cancelled()
            });
            if let Some(end) = failed {
                return Err(end);
            }
            if !read.map_err(End::Kafka)? {
                return Err(End::Stopped);
            }
        }
        deleted += self.delete(&mut found, &ends)?;
        Ok(deleted)
    }

    /// The whole log, when all of it can be read. A transaction of this relay is not open any more, unless Kafka has
    /// lost it; that of a foreign producer may be.
    fn stable(&self, reader: &Reader) -> Result<Vec<Span>, End> {
        let (mut deadline, mut tried) = (Instant::now() + STABLE_TIMEOUT, false);
        loop {
            (self.progress)();
            let (spans, unstable) = reader.spans_and_unstable(None).map_err(End::Kafka)?;
            let Some(Span { partition, from, .. }) = unstable.first() else {
                counter!("outbox_transactions_ended_total").increment(u64::from(tried));
                return Ok(spans);
            };
            if self.stop.is_cancelled() {
                return Err(End::Stopped);
            }
            if Instant::now() > deadline {
                if !tried && self.end_lost(&unstable)? {
                    (deadline, tried) = (Instant::now() + ENDED_TIMEOUT, true);
                    continue;
                }
                let topic = &self.source.topics.input;
                let stands = "stands before another producer's open transaction";
                return Err(End::Kafka(anyhow::anyhow!("{topic} [{partition}] {stands}, at {from}")));
            }
            std::thread::sleep(STABLE_INTERVAL);
        }
    }

    /// Ends the transaction that these ranges wait for, if it can be one of the relay's own that Kafka has lost: all of
    /// its events still wait in the outbox, so nobody has taken it for committed, and they are published again.
    /// `false`, and nothing was done, if it is another one.
    fn end_lost(&self, unstable: &[Span]) -> Result<bool, End> {
        let events = lost::events(self.client, self.source, unstable, self.progress).map_err(End::Kafka)?;
        let Some(events) = events else { return Ok(false) };
        let waiting = relay::all_wait(self.store, &events);
        if !self.runtime.block_on(waiting).map_err(End::Postgres)? {
            return Ok(false);
        }
        (self.progress)();
        let partitions: Vec<_> = unstable.iter().map(|span| span.partition).collect();
        let aborted = self.producer.abort_in(&partitions);
        aborted.map_err(|error| if self.producer.is_fenced() { End::Fenced } else { End::Kafka(error) })?;
        for Span { partition, from, .. } in unstable {
            let (topic, events) = (&self.source.topics.input, events.len());
            tracing::warn!(
                topic,
                partition,
                from_offset = from,
                events,
                "the relay aborts a transaction that Kafka has lost: its events are published again"
            );
        }
        Ok(true)
    }

    fn delete(&self, found: &mut Vec<Found>, ends: &Offsets) -> Result<u64, End> {
        (self.progress)();
        let deleted = relay::reconcile(self.store, self.holder, found, ends);
        let deleted = self.runtime.block_on(deleted).map_err(End::Postgres)?;
        found.clear();
        deleted.ok_or(End::LeaseLost)
    }
}
