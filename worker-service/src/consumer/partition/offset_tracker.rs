//! How far a partition is: the offset that comes next, and what was stored for the group.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::Record;

use super::batch_numbering::{Back, Numbers};
use super::gaps::Gaps;
use super::panic_guard::Taken;
use super::tail::Tail;
use super::{IDLE_INTERVAL, PartitionRunner};
use crate::consumer::handler::Handler;
use crate::scheduler::Scheduler;

/// Ten times as long as the client takes to commit what is stored by itself. What Kafka does not hold by then is
/// committed once more: the client commits an offset once, and does not notice where it is gone from the broker.
const COMMITTED_LATE: Duration = Duration::from_secs(10);

/// A client that asks for an offset that the log does not have is told at once.
const SENT_ELSEWHERE_WITHIN: Duration = Duration::from_secs(5);

/// From one record to the next.
pub(super) enum Step {
    Next,
    /// Something is missing: this offset was expected.
    Gap(i64),
    /// The log went back: this offset was expected.
    Back(i64),
    /// The records of a batch are not numbered in a row: this offset was expected.
    Unordered(i64),
    /// The same, and the client went elsewhere for it: it has to go back to [`OffsetTracker::return_to`] first.
    Elsewhere(i64),
}

/// How far the partition is.
pub(super) struct OffsetTracker<'g> {
    /// The offset expected next.
    pub(super) expected: Option<i64>,
    /// The first record of a log that began anew; it waits until all before it is done.
    pub(super) put_off: Option<Taken>,
    /// Gaps in the offsets that nobody has looked into yet. They outlive a runner that begins anew.
    pub(super) gaps: &'g mut Gaps,
    /// When the client last said that what comes next cannot be read.
    pub(super) unreadable: Option<Instant>,
    /// What stands behind the last record, and is none.
    pub(super) tail: Tail,
    /// Where the client has to fetch from; nothing is taken in before it does.
    pub(super) return_to: Option<i64>,
    numbers: Numbers,
    /// Since when it has been known that the last batch left something out, as it seems.
    open_since: Option<Instant>,
    stored: Option<i64>,
    /// When that, or a commit of it, was last told to the client.
    told: Option<Instant>,
    /// When an offset lower than the committed one was last sent.
    lowered: Option<Instant>,
}

impl<'g> OffsetTracker<'g> {
    pub(super) fn new(committed: Option<i64>, gaps: &'g mut Gaps) -> Self {
        Self {
            expected: committed,
            put_off: None,
            gaps,
            unreadable: None,
            tail: Tail::default(),
            return_to: None,
            numbers: Numbers::default(),
            open_since: None,
            stored: None,
            told: None,
            lowered: None,
        }
    }

    /// Notes a record's offset, unless it is an earlier one than expected: then it is noted when it
    /// comes again.
    pub(super) fn step_to(&mut self, record: &Record) -> Step {
        let (offset, appended_at) = (record.offset, record.appended_at());
        let step = match self.expected.replace(offset + 1) {
            Some(expected) if offset > expected => match self.numbers.forward(expected, offset, appended_at) {
                true => Step::Next,
                false => Step::Gap(expected),
            },
            Some(expected) if offset < expected => {
                self.expected = None;
                return match self.numbers.back(offset, appended_at) {
                    Back::NewLog => Step::Back(expected),
                    Back::Unordered => Step::Unordered(expected),
                    Back::Elsewhere { to } => {
                        self.return_to = Some(to);
                        Step::Elsewhere(expected)
                    }
                };
            }
            _ => Step::Next,
        };
        if let Some(gap) = self.numbers.go_on(appended_at) {
            self.gaps.met(gap.start, gap.end);
        }
        step
    }

    /// Nothing comes in. Where the client was to be sent elsewhere because of the last batch, that would be so by now.
    pub(super) fn rest(&mut self) {
        if !self.numbers.is_open() {
            self.open_since = None;
        } else if self.open_since.get_or_insert_with(Instant::now).elapsed() >= SENT_ELSEWHERE_WITHIN {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(gap) = self.numbers.close() {
            self.gaps.met(gap.start, gap.end);
        }
    }

    /// The client fetches from where it had to go back to.
    pub(super) fn returned(&mut self, to: i64) {
        (self.return_to, self.expected) = (None, Some(to));
        self.numbers.returned(to);
    }

    /// No record stands before this offset that did not come: it is the one that is expected next.
    pub(super) fn reach(&mut self, offset: i64) {
        self.expected = self.expected.max(Some(offset));
    }

    /// Stores the watermark where it moved: the group commits what is stored.
    pub(super) fn store<H: Handler>(&mut self, runner: &PartitionRunner<H>, scheduler: &Scheduler<H::Event>) {
        let Some(offset) = scheduler.watermark() else { return };
        let moved = self.stored != Some(offset);
        let committed = runner.signals.committed.load(Ordering::Relaxed);
        // The log went back. The client by itself never commits less than it did before: it has to be
        // told, until Kafka has it.
        let lower = committed > offset && self.lowered.is_none_or(|lowered| lowered.elapsed() >= IDLE_INTERVAL);
        let late = !moved && committed < offset && self.told.is_some_and(|told| told.elapsed() >= COMMITTED_LATE);
        if !moved && !lower && !late {
            return;
        }
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&runner.topic, runner.partition, Offset::Offset(offset));
        if let Err(error) = added.and_then(|()| runner.consumer.store_offsets(&list)) {
            // Lost in the meantime: its new owner goes on from the last commit.
            tracing::warn!(partition = runner.partition, offset, %error, "the offset is not stored");
            return;
        }
        self.stored = Some(offset);
        self.told = Some(Instant::now());
        runner.signals.stored.store(offset, Ordering::Relaxed);
        if lower {
            self.lowered = Some(Instant::now());
        }
        if (lower || late)
            && let Err(error) = runner.consumer.commit(&list, CommitMode::Async)
        {
            tracing::warn!(partition = runner.partition, offset, %error, "the offset is not committed");
        }
    }
}

/// A runner that begins anew does not know of it.
impl Drop for OffsetTracker<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
