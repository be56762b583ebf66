//! What is in a transaction of the relay that Kafka has lost: it is open in the log, and no coordinator knows it, so
//! neither its time limit nor a new epoch of its producer ends it (KIP-664 calls it hanging). The marker of a later
//! transaction of the same producer in that partition does.

use rdkafka::ClientConfig;
use shared::kafka::topics::setup::MAX_RECORD_BYTES;
use shared::store::outbox::relay::Found;

use super::producer::{BATCH_BYTES, MAX_BATCH_ROWS};
use super::record::of_outbox;
use crate::dead_letters::read::{Reader, Span};
use crate::source::Source;

/// The events of the records in these ranges, which an open transaction precedes. `None` if they are not one
/// transaction of a relay: a record is not of an outbox, a range has none, or there are too many. Blocks its thread.
pub(super) fn events(
    client: &ClientConfig,
    source: &Source,
    unstable: &[Span],
    progress: &dyn Fn(),
) -> anyhow::Result<Option<Vec<Found>>> {
    let reader = Reader::of_all(client, &source.topics.input, &source.group)?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    for span in unstable {
        progress();
        let before = events.len();
        let are_ours = reader.read(*span, |record| {
            bytes += record.value().map_or(0, |value| value.len());
            let fits = events.len() < MAX_BATCH_ROWS as usize && bytes <= BATCH_BYTES + MAX_RECORD_BYTES;
            let event = of_outbox(&record).filter(|_| fits);
            let is_ours = event.is_some();
            events.extend(event);
            is_ours
        })?;
        if !are_ours || events.len() == before || reader.first_unreadable(span.partition).is_some() {
            return Ok(None);
        }
    }
    Ok(Some(events))
}
