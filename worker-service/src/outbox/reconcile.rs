//! Reads what the topic has since it was last known, and deletes those rows of the outbox.
//!
//! So a relay that ended between Kafka's commit and the deletion publishes nothing twice. And after PostgreSQL was
//! restored to an earlier time, no event is repeated and no number is used again.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use shared::kafka::{Record, header};
use shared::store::Store;
use shared::store::outbox::MAX_AGGREGATE_BYTES;
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
/// The greatest number that a record may have. A foreign one with a greater number would leave its aggregate too few.
const MAX_NUMBER: i64 = i64::MAX / 4;

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
    let sequence = text(record.header(header::SEQUENCE)?)?.parse::<i64>().ok();
    let sequence = sequence.filter(|number| (1..=MAX_NUMBER).contains(number))?;
    let aggregate = text(record.key()?).filter(|key| key.len() <= MAX_AGGREGATE_BYTES)?;
    Some(Found { event_id, aggregate, sequence })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f1e2d3c-4b5a-4678-9abc-def012345678";

    fn found(key: &str, id: &str, sequence: &str) -> Option<Found> {
        let headers = [(header::ID, Some(id.as_bytes())), (header::SEQUENCE, Some(sequence.as_bytes()))];
        of_outbox(&Record::new(Some(key.as_bytes()), None, &headers))
    }

    #[test]
    fn only_what_an_outbox_may_have_written_is_found() {
        let longest = "k".repeat(MAX_AGGREGATE_BYTES);
        for (key, sequence) in [("campaign-7", 1), (&*longest, MAX_NUMBER)] {
            let expected = Found { event_id: ID.to_owned(), aggregate: key.to_owned(), sequence };
            assert_eq!(found(key, ID, &format!("{sequence:020}")), Some(expected));
        }
        // An index takes no key of 4 kB, and behind the greatest number there is none.
        for key in [format!("{longest}k"), "k".repeat(4_096), "a\0b".to_owned()] {
            assert_eq!(found(&key, ID, "1"), None, "{} bytes", key.len());
        }
        for sequence in [0, -1, MAX_NUMBER + 1, i64::MAX] {
            assert_eq!(found("a", ID, &sequence.to_string()), None, "{sequence}");
        }
        for (id, sequence) in [("7", "1"), (ID, ""), (ID, "one"), (ID, "9223372036854775808")] {
            assert_eq!(found("a", id, sequence), None, "{id} {sequence}");
        }
        let headers = [(header::ID, Some(ID.as_bytes())), (header::SEQUENCE, Some(&b"1"[..]))];
        assert_eq!(of_outbox(&Record::new(None, None, &headers)), None, "without a key");
    }
}
