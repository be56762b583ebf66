//! The largest batch of several records.
//!
//! The broker refuses a batch that is larger than the topic's `max.message.bytes`, and librdkafka reports that refusal
//! for each record in it. So batches are kept below the limit, and a record that may not fit into one is sent by
//! itself: if that is refused, the record is too large.

use std::sync::{PoisonError, RwLock};

use shared::kafka::Outgoing;

/// librdkafka's own default of `batch.size`.
pub(super) const MAX_BATCH_BYTES: usize = 1_000_000;

/// The assumed limit of a topic until Kafka has returned it: as much as the largest payload, because a topic with a
/// lower limit refuses valid events anyway. A much lower assumption would slow down a request of 8 MiB when Kafka is
/// far away: an idempotent client of librdkafka has one batch of five or more records in flight to a partition.
pub(super) const ASSUMED_BATCH_BYTES: usize = 256 * 1024;

/// An upper bound of: the names of all headers, the values with a fixed length, the varints around each header,
/// and of the header of a batch.
const OVERHEAD: usize = 768;

/// The same for the header of an extension: `ce_`, and two varints.
const EXTENSION_OVERHEAD: usize = 13;

/// The limit of batches to a topic, known or assumed.
#[derive(Debug)]
pub(super) struct BatchLimit(RwLock<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    /// The topic's `max.message.bytes`, as Kafka last returned it.
    asked: Option<usize>,
    refused: usize,
}

impl BatchLimit {
    /// Until Kafka has returned the topic's limit, batches are small.
    pub(super) fn unknown() -> Self {
        Self(RwLock::new(State { asked: None, refused: MAX_BATCH_BYTES }))
    }

    fn state(&self) -> State {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest batch of several records.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes()
    }

    /// Whether Kafka has returned the topic's limit, and [`Self::bytes`] follows it.
    pub(super) fn is_known(&self) -> bool {
        self.state().asked.is_some()
    }

    /// Applies the topic's `max.message.bytes`, as Kafka returned it.
    pub(super) fn learn(&self, asked: usize) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.asked.replace(asked) != Some(asked) {
            // Refusals were about the previous limit.
            state.refused = MAX_BATCH_BYTES;
        }
    }

    /// Halves the limit after a batch of up to this many bytes was refused. That happens if this service has no right
    /// to read the limit, or if the broker compresses in its own way, and less well.
    pub(super) fn refused(&self, batch_bytes: usize) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.bytes() >= batch_bytes {
            state.refused = (batch_bytes / 2).max(1);
        }
    }
}

impl State {
    fn bytes(&self) -> usize {
        // librdkafka accepts no `batch.size` of 0.
        self.asked.unwrap_or(ASSUMED_BATCH_BYTES).min(MAX_BATCH_BYTES).min(self.refused).max(1)
    }
}

/// An upper bound of the size of the event's record in a batch of its own, before compression.
pub(super) fn record_bytes(event: &Outgoing) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let Outgoing { envelope, source } = event;
    let extensions = envelope.extensions.iter().map(|(name, value)| name.len() + value.len() + EXTENSION_OVERHEAD);
    OVERHEAD
        + envelope.data.len()
        + envelope.key.as_str().len()
        + envelope.subject.as_str().len()
        + source.len()
        + envelope.id.as_str().len()
        + text(&envelope.request_id)
        + text(&envelope.user_id)
        + text(&envelope.correlation_id)
        + text(&envelope.causation_id)
        + text(&envelope.traceparent)
        + extensions.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use shared::kafka::ids::percent_encoded;
    use shared::kafka::{Envelope, each_header};
    use time::{OffsetDateTime, UtcOffset};

    use super::*;

    #[test]
    fn what_kafka_says_counts_and_refusals_below_it() {
        let limit = BatchLimit::unknown();
        assert_eq!((limit.bytes(), limit.is_known()), (ASSUMED_BATCH_BYTES, false));
        limit.refused(ASSUMED_BATCH_BYTES);
        // A refusal of a batch from before the limit was lowered.
        limit.refused(ASSUMED_BATCH_BYTES);
        assert_eq!((limit.bytes(), limit.is_known()), (ASSUMED_BATCH_BYTES / 2, false));
        limit.learn(400_000);
        assert_eq!((limit.bytes(), limit.is_known()), (400_000, true));
        limit.refused(400_000);
        limit.learn(400_000);
        assert_eq!(limit.bytes(), 200_000, "asked again, Kafka said nothing new");
        limit.learn(20_000);
        assert_eq!(limit.bytes(), 20_000);
        limit.learn(8 << 20);
        assert_eq!(limit.bytes(), MAX_BATCH_BYTES, "larger ones are not better");
        limit.learn(0);
        limit.refused(1);
        assert_eq!(limit.bytes(), 1);
    }

    proptest! {
        /// As librdkafka counts: 36 for a record, 61 for a batch, and two varints of up to 5 for each header.
        #[test]
        fn a_record_is_never_larger_than_it_is_taken_for(
            device in "[ -~]{1,128}", id in "[A-Za-z0-9._:-]{1,64}", text in "[a-z é]{0,300}",
            caller in proptest::option::of("[ -~]{0,300}"), nanos in 0..1_000_000_000_u32, hours in -23..=23_i8,
            extensions in prop::collection::vec((Just("extension"), "[ -~]{0,100}"), 0..9),
        ) {
            let accepted_at = OffsetDateTime::now_utc().replace_nanosecond(nanos).unwrap();
            let (id, data) = (id.parse().unwrap(), Bytes::from(format!(r#"{{"x":"{text}"}}"#)));
            let mut envelope =
                Envelope::new("io.edge.device.reported.v1", device.as_str().into(), id, accepted_at, data);
            envelope.occurred_at = accepted_at.to_offset(UtcOffset::from_hms(hours, 59 * hours.signum(), 0).unwrap());
            (envelope.request_id, envelope.user_id) = (caller.clone(), caller.clone());
            (envelope.correlation_id, envelope.causation_id) = (caller.clone(), caller.clone());
            envelope.traceparent = caller;
            envelope.extensions = extensions;
            let source = format!("/devices/{}", percent_encoded(&device));
            let event = Outgoing { envelope, source };
            let mut bytes = 36 + 61 + device.len() + event.envelope.data.len();
            each_header(&event, |name, value| bytes += name.len() + value.len() + 10);
            prop_assert!(bytes <= record_bytes(&event), "{bytes} > {}", record_bytes(&event));
        }
    }
}
