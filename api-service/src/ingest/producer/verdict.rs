//! The result of an attempt to send an event, and whether there is another attempt.

use std::collections::HashSet;
use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use shared::kafka::{Outgoing, is_acknowledged, is_too_large, is_without_topic};

use super::reports::Report;
use super::sender::Sender;
use super::{Outcome, Way};

#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Final(Outcome),
    /// It was in a refused batch, or behind one: it has to be sent by itself.
    SendAlone,
}

/// The verdict on an event that the client did not accept into its queue.
pub(super) fn refused(sender: &Arc<Sender>, way: Way, error: &KafkaError) -> Verdict {
    match (error.rdkafka_error_code(), way) {
        (Some(code), _) if is_too_large(code) => return Verdict::Final(Outcome::TooLarge),
        (Some(code), _) if is_without_topic(code) => return Verdict::Final(Outcome::NoTopic),
        (Some(RDKafkaErrorCode::QueueFull), _) => {}
        (Some(RDKafkaErrorCode::Fatal), way) => {
            sender.replace();
            if way == Way::Batched {
                return Verdict::SendAlone;
            }
        }
        _ => tracing::warn!(%error, "librdkafka refused an event"),
    }
    Verdict::Final(Outcome::QueueFull)
}

/// The verdict on an event that was handed over, from its report.
pub(super) fn judged(sender: &Arc<Sender>, way: Way, report: &Report) -> Verdict {
    let error = match report {
        Ok((_, offset)) if !is_acknowledged(*offset) => {
            tracing::warn!("librdkafka reports an event as written that no broker acknowledged");
            return Verdict::Final(Outcome::Unknown);
        }
        Ok((partition, offset)) => {
            return Verdict::Final(Outcome::Accepted { partition: *partition, offset: *offset });
        }
        Err(error) => error,
    };
    tracing::debug!(%error, "an event was not acknowledged");
    if sender.client().has_failed() {
        sender.replace();
    }
    match (error.rdkafka_error_code(), way) {
        // The refusal of a batch is reported for each record in it, and the client's other records are returned.
        (Some(code), Way::Batched) if is_too_large(code) || code == RDKafkaErrorCode::PurgeQueue => Verdict::SendAlone,
        (Some(code), Way::Alone) if is_too_large(code) => Verdict::Final(Outcome::TooLarge),
        (Some(code), _) if is_without_topic(code) => Verdict::Final(Outcome::NoTopic),
        _ => Verdict::Final(Outcome::Unknown),
    }
}

/// The events to send one by one, in order, without those behind an event of the same key whose outcome is unknown.
pub(super) fn to_send_again<'a>(events: &[(&'a Outgoing, Way)], verdicts: &[Verdict]) -> Vec<(usize, &'a Outgoing)> {
    let mut unknown = HashSet::new();
    let mut again = Vec::new();
    for (place, ((event, _), verdict)) in events.iter().zip(verdicts).enumerate() {
        match verdict {
            Verdict::SendAlone if !unknown.contains(&event.envelope.key) => again.push((place, *event)),
            Verdict::Final(Outcome::Unknown) => drop(unknown.insert(&event.envelope.key)),
            Verdict::SendAlone | Verdict::Final(_) => {}
        }
    }
    again
}

impl Verdict {
    /// If the second attempt is not accepted, the first may have been written, and only its acknowledgement lost.
    pub(super) fn of_second_attempt(self) -> Self {
        match self {
            Self::Final(Outcome::QueueFull | Outcome::NoTopic) => Self::Final(Outcome::Unknown),
            other => other,
        }
    }

    /// The final outcome, after the last attempt.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Final(outcome) => outcome,
            Self::SendAlone => Outcome::Unknown,
        }
    }
}
