//! What becomes of a topic's events, counted.

use metrics::{Counter, counter};

use super::Outcome;

/// One for each outcome, in the order of [`Outcome::ALL`]. Looked up once: a series costs more to find than to count.
pub(crate) struct Counters([Counter; 6]);

impl Counters {
    /// Those of a topic. They are there from now on, at 0: alerts look at them.
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
