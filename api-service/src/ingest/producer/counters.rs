//! The counters of the outcomes of a topic's events.

use metrics::{Counter, counter};

use super::Outcome;

/// One for each outcome, in the order of [`Outcome::ALL`]. Looked up once: finding a series costs more than counting.
pub(crate) struct Counters([Counter; 6]);

impl Counters {
    /// The counters of a topic. They start at 0 now, because alerts use them.
    pub(super) fn of(topic: &str) -> Self {
        Self(Outcome::ALL.map(|outcome| {
            let counter = counter!("kafka_produce_total", "topic" => topic.to_owned(), "outcome" => outcome.as_str());
            counter.increment(0);
            counter
        }))
    }

    pub(super) fn count(&self, outcomes: &[Outcome]) {
        let [accepted, queue_full, no_topic, closed, too_large, unknown] = &self.0;
        let mut acknowledged = 0;
        for outcome in outcomes {
            match outcome {
                Outcome::Accepted { .. } => acknowledged += 1,
                Outcome::QueueFull => queue_full.increment(1),
                Outcome::NoTopic => no_topic.increment(1),
                Outcome::Closed => closed.increment(1),
                Outcome::TooLarge => too_large.increment(1),
                Outcome::Unknown => unknown.increment(1),
            }
        }
        accepted.increment(acknowledged);
    }
}
