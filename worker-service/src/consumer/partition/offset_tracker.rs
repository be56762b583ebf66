//! The offset that a partition expects next, and the one that was stored for the group.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::Record;

use super::batch_numbering::{Numbers, Step};
use super::gaps::Gaps;
use super::panic_guard::Taken;
use super::tail::Tail;
use super::{IDLE_INTERVAL, PartitionRunner};
use crate::consumer::handler::Handler;
use crate::scheduler::Scheduler;

/// Ten times the client's commit interval. An offset that Kafka does not have by then is committed again: the client
/// commits an offset once, and does not notice if the broker loses it.
const COMMITTED_LATE: Duration = Duration::from_secs(10);

/// If the log does not have the requested offset, the broker has said so within this time.
const SENT_ELSEWHERE_WITHIN: Duration = Duration::from_secs(5);

/// The offsets of a partition.
pub(super) struct OffsetTracker<'g> {
    pub(super) expected: Option<i64>,
    /// The first record of a recreated log. It waits until every record before it is done.
    pub(super) put_off: Option<Taken>,
    /// Gaps in the offsets that were not examined yet. They outlive a restart of the runner.
    pub(super) gaps: &'g mut Gaps,
    /// When the client last reported that it cannot read the next batch.
    pub(super) unreadable: Option<Instant>,
    pub(super) tail: Tail,
    /// The offset that the client has to seek to. No record is taken in before it has.
    pub(super) return_to: Option<i64>,
    numbers: Numbers,
    /// Since when the last batch seems to have left out offsets.
    open_since: Option<Instant>,
    stored: Option<i64>,
    /// When the client was last asked to store or commit it.
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

    /// Notes a record's offset. A record before the expected offset is noted only when it is read again.
    pub(super) fn step_to(&mut self, record: &Record) -> Step {
        let (offset, appended_at) = (record.offset, record.appended_at());
        let step = match self.expected.replace(offset + 1) {
            Some(expected) if offset > expected => match self.numbers.forward(expected, offset, appended_at) {
                true => Step::Next,
                false => Step::Gap,
            },
            Some(expected) if offset < expected => {
                self.expected = None;
                let step = self.numbers.back(offset, appended_at);
                if let Step::Elsewhere(to) = step {
                    self.return_to = Some(to);
                }
                return step;
            }
            _ => Step::Next,
        };
        if let Some(gap) = self.numbers.go_on(appended_at) {
            self.gaps.met(gap.start, gap.end);
        }
        step
    }

    /// No record comes in. After some time the client would have been reset by now if the last batch caused that.
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

    /// The client has been sent back to this offset and fetches from there.
    pub(super) fn returned(&mut self, to: i64) {
        (self.return_to, self.expected) = (None, Some(to));
        self.numbers.returned(to);
    }

    /// There is no further record before this offset, so it is expected next.
    pub(super) fn reach(&mut self, offset: i64) {
        self.expected = self.expected.max(Some(offset));
    }

    /// Stores the watermark if it moved: the client commits stored offsets.
    pub(super) fn store<H: Handler>(&mut self, runner: &PartitionRunner<H>, scheduler: &Scheduler<H::Event>) {
        let Some(offset) = scheduler.watermark() else { return };
        let moved = self.stored != Some(offset);
        let committed = runner.signals.committed.load(Ordering::Relaxed);
        // The log went back. The client never commits a lower offset by itself, so the commit is requested until Kafka
        // has it.
        let lower = committed > offset && self.lowered.is_none_or(|lowered| lowered.elapsed() >= IDLE_INTERVAL);
        let late = !moved && committed < offset && self.told.is_some_and(|told| told.elapsed() >= COMMITTED_LATE);
        if !moved && !lower && !late {
            return;
        }
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&runner.topic, runner.partition, Offset::Offset(offset));
        if let Err(error) = added.and_then(|()| runner.consumer.store_offsets(&list)) {
            // The partition was lost meanwhile: its new owner continues from the last commit.
            tracing::warn!(group = &*runner.group, partition = runner.partition, offset, %error, "cannot store the offset");
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
            tracing::warn!(group = &*runner.group, partition = runner.partition, offset, %error, "cannot commit the offset");
        }
    }
}

/// Reports an open gap, because the runner does not know of it after a restart.
impl Drop for OffsetTracker<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
