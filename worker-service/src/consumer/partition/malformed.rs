//! Records that the client cannot parse because their producer wrote them wrongly. No setting helps: each becomes a
//! dead letter that has only its topic, partition and offset, and the partition continues behind it.

use std::time::Instant;

use rdkafka::topic_partition_list::Offset;
use shared::kafka::unreadable::Unreadable;
use shared::kafka::{DeadLetter, Reason, Record};
use time::OffsetDateTime;

use super::PartitionRunner;
use super::offset_tracker::OffsetTracker;
use crate::consumer::event_log;
use crate::consumer::handler::Handler;
use crate::scheduler::Scheduler;

impl<H: Handler> PartitionRunner<H> {
    /// The partition is before records that cannot be read. True if it continues behind them. The client must not have
    /// continued by itself.
    pub(super) async fn meet_unreadable(
        &self,
        here: Option<i64>,
        found: Unreadable,
        scheduler: &mut Scheduler<H::Event>,
        tracker: &mut OffsetTracker<'_>,
    ) -> bool {
        let (partition, health) = (self.partition, &self.dependencies.health);
        let Unreadable { from, to, error, is_malformed } = found;
        tracker.tail.met_unreadable = Some(Instant::now());
        if !is_malformed {
            health.cannot_read(partition, Some(from), error);
            return false;
        }
        // Every handler of the stream meets such records; only the stream's owner sends dead letters for them.
        let places = if H::SPEC.owner { from..to } else { to..to };
        let mut behind = places.start;
        let letters = places.map(|offset| self.letter_of_place(offset, &error)).collect();
        let mut refused = None;
        for (letter, sent) in self.dependencies.dead_letters.send(letters).await {
            match sent {
                Ok(()) => {
                    self.aside(|| event_log::dead_letter(&H::LINES, &self.group, &letter, &H::SPEC.stream));
                    health.dead_letter(letter.reason);
                    // Those from the first refused one on are sent again.
                    behind += i64::from(refused.is_none());
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(why) = &refused {
            health.cannot_read(partition, Some(behind), format!("cannot write its dead letter: {why}"));
        }
        if behind == from || !self.go_on_at(behind).await {
            return false;
        }
        tracing::error!(
            group = &*self.group,
            partition,
            from,
            to = behind,
            error,
            "malformed records cannot be read: each becomes a dead letter, and the partition goes on behind them"
        );
        // Offsets before them are examined like every other gap.
        if let Some(here) = here.filter(|here| *here < from) {
            tracker.gaps.met(here, from);
        }
        scheduler.reach(behind);
        tracker.reach(behind);
        if refused.is_none() {
            health.can_read(partition);
        }
        true
    }

    /// A batch's offsets are not consecutive, as their producer wrote them.
    pub(super) fn tell_unordered(&self, expected: i64, offset: i64) {
        tracing::warn!(
            group = &*self.group,
            partition = self.partition,
            expected,
            offset,
            "a batch has offsets that are not consecutive, as its producer wrote it"
        );
    }

    /// Seeks behind such a batch if the client was reset and every record before it is finished.
    pub(super) async fn return_where_due(&self, scheduler: &mut Scheduler<H::Event>, tracker: &mut OffsetTracker<'_>) {
        if let Some(to) = tracker.return_to
            && scheduler.is_empty()
            && self.go_on_at(to).await
        {
            scheduler.restart();
            scheduler.reach(to);
            tracker.returned(to);
        }
    }

    async fn go_on_at(&self, offset: i64) -> bool {
        let sought = self.seek(Offset::Offset(offset)).await;
        if let Err(error) = &sought {
            let (group, partition) = (&*self.group, self.partition);
            tracing::warn!(group, partition, offset, %error, "cannot seek past unreadable records");
        }
        sought.is_ok()
    }

    /// The dead letter of a record whose bytes and time are unknown: its time is now.
    fn letter_of_place(&self, offset: i64, error: &str) -> DeadLetter {
        let mut record = Record::new(None, None, &[]);
        (record.topic, record.partition, record.offset) = (self.topic.clone(), self.partition, offset);
        (record.timestamp, record.create_time) = (OffsetDateTime::now_utc(), true);
        DeadLetter { record, reason: Reason::Unreadable, error: error.to_owned(), attempts: 1 }
    }
}
