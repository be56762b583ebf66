//! Reads what the topic has since it was last known, and deletes those rows of the outbox.
//!
//! So a relay that ended between Kafka's commit and the deletion publishes nothing twice. And after PostgreSQL was
//! restored to an earlier time, no event is repeated and no number is used again.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use shared::kafka::{Record, header};
use shared::store::Store;
use shared::store::outbox::relay::{self, Found, Offsets};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::end::End;
use crate::dead_letters::read::{Reader, Span};
use crate::source::Source;

/// Rows that are deleted together.
const CHUNK: usize = 10_000;
/// How long to wait for another producer's transaction: behind it nothing can be read.
const STABLE_TIMEOUT: Duration = Duration::from_secs(30);
const STABLE_INTERVAL: Duration = Duration::from_millis(100);

/// What a reconciliation needs.
pub struct Reconciliation<'a> {
    pub runtime: &'a Handle,
    pub store: &'a Store,
    pub client: &'a ClientConfig,
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

    /// The whole log, when all of it can be read. A transaction of this relay is not open any more; that of a foreign
    /// producer may be.
    fn stable(&self, reader: &Reader) -> Result<Vec<Span>, End> {
        let began = Instant::now();
        loop {
            (self.progress)();
            let (spans, unstable) = reader.spans_and_unstable(None).map_err(End::Kafka)?;
            let Some(Span { partition, from, .. }) = unstable.first() else { return Ok(spans) };
            if self.stop.is_cancelled() {
                return Err(End::Stopped);
            }
            if began.elapsed() > STABLE_TIMEOUT {
                let topic = &self.source.topics.input;
                let stands = "stands before another producer's open transaction";
                return Err(End::Kafka(anyhow::anyhow!("{topic} [{partition}] {stands}, at {from}")));
            }
            std::thread::sleep(STABLE_INTERVAL);
        }
    }

    fn delete(&self, found: &mut Vec<Found>, ends: &Offsets) -> Result<u64, End> {
        (self.progress)();
        let deleted = relay::reconcile(self.store, self.holder, found, ends);
        let deleted = self.runtime.block_on(deleted).map_err(End::Postgres)?;
        found.clear();
        deleted.ok_or(End::LeaseLost)
    }
}

/// What identifies the row of a record, if it came from an outbox.
fn of_outbox(record: &Record) -> Option<Found> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned);
    // Only as PostgreSQL and the relay write it: other spellings are not of the outbox.
    let is_uuid = |id: &String| id.len() == uuid::fmt::Hyphenated::LENGTH && uuid::Uuid::try_parse(id).is_ok();
    let event_id = text(record.header(header::ID)?).filter(is_uuid)?;
    let sequence = text(record.header(header::SEQUENCE)?)?.parse().ok()?;
    Some(Found { event_id, aggregate: text(record.key()?)?, sequence })
}
