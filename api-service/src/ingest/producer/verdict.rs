//! What became of an attempt to send an event, and whether another one is made.

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
    /// It was in, or behind, a batch that was refused: it has to be sent by itself.
    SendAlone,
}

/// It never left our hands.
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

/// It was handed over, and this came back.
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
        // The verdict on a batch is told of each record in it, and the others of its client are given back.
        (Some(code), Way::Batched) if is_too_large(code) || code == RDKafkaErrorCode::PurgeQueue => Verdict::SendAlone,
        (Some(code), Way::Alone) if is_too_large(code) => Verdict::Final(Outcome::TooLarge),
        (Some(code), _) if is_without_topic(code) => Verdict::Final(Outcome::NoTopic),
        _ => Verdict::Final(Outcome::Unknown),
    }
}

/// The events that have to be sent by themselves, in their order; none behind one of the same device of
/// which nobody knows whether it was written.
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
    /// What was not taken the second time may have been written the first time, and the answer was lost.
    pub(super) fn of_second_attempt(self) -> Self {
        match self {
            Self::Final(Outcome::QueueFull | Outcome::NoTopic) => Self::Final(Outcome::Unknown),
            other => other,
        }
    }

    /// The last word, as nothing more is tried.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Final(outcome) => outcome,
            Self::SendAlone => Outcome::Unknown,
        }
    }
}
