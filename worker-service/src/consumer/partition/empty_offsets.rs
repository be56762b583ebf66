//! Offsets without a record at the end of a partition: transaction markers, records that were aborted or compacted
//! away. The partition's offset is moved past them, or it would seem to be behind for ever.
//!
//! The client's position is behind the markers that it has read. It does not include aborted records whose marker
//! cannot be read yet, because another transaction is open before it, nor a gap at the end. So if a partition stays
//! behind, a separate consumer reads what is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use shared::runtime::lifecycle::no_result;

use super::offset_tracker::OffsetTracker;
use super::tail::{Tail, TailContent, TailRead, read_tail};
use super::{IDLE_INTERVAL, PartitionRunner};
use crate::consumer::handler::Handler;
use crate::scheduler::Scheduler;

/// How long a partition has to be behind its end before the separate consumer reads it.
const READ_AFTER: Duration = Duration::from_secs(10);
/// When it is read again, if there was no answer, or if it is behind again.
const READ_INTERVAL: Duration = Duration::from_secs(30);
/// The same for some time after a record that could not be read: there may be many.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
const RECENT: Duration = Duration::from_secs(60);

impl<H: Handler> PartitionRunner<H> {
    /// Moves an idle partition (it may have held keys) past offsets without a record. True if it did. At most once a
    /// second.
    pub(super) async fn move_on(&self, scheduler: &mut Scheduler<H::Event>, tracker: &mut OffsetTracker<'_>) -> bool {
        let tail = &mut tracker.tail;
        if !scheduler.is_idle()
            || scheduler.is_paused()
            || tracker.put_off.is_some()
            || tracker.return_to.is_some()
            // The separate consumer could not read it either, and would decompress it once more.
            || tracker.unreadable.is_some_and(|said| said.elapsed() < READ_INTERVAL)
            || tail.looked.is_some_and(|looked| looked.elapsed() < IDLE_INTERVAL)
        {
            return false;
        }
        tail.looked = Some(Instant::now());
        tracker.rest();
        let tail = &mut tracker.tail;
        let here = scheduler.read_to().or(tracker.expected);
        let position = self.position().await;
        let to = match self.read_on(here, tail).await {
            Some(TailContent::Unreadable(unreadable)) if position <= here => {
                return self.meet_unreadable(here, unreadable, scheduler, tracker).await;
            }
            Some(TailContent::Nothing(to)) => position.max(Some(to)),
            _ => position,
        };
        if to <= here {
            return false;
        }
        if let Some(to) = to {
            tracing::debug!(
                group = &*self.group,
                partition = self.partition,
                from = here,
                to,
                "moved past offsets without a record"
            );
            // These may be markers or lost records: they are examined like every other gap.
            if let Some(here) = here {
                tracker.gaps.met(here, to);
            }
            scheduler.reach(to);
            tracker.reach(to);
        }
        true
    }

    /// The client's position, including markers. No records are taken from the queue meanwhile, so all records before
    /// it have come in.
    async fn position(&self) -> Option<i64> {
        let told = self.ask_client(|consumer, topic, partition| {
            let positions = consumer.position().ok()?;
            positions.find_partition(topic, partition).and_then(|found| found.offset().to_raw())
        });
        // A negative offset means that there is none yet.
        told.await.ok().flatten().filter(|offset| *offset >= 0)
    }

    /// If the partition has been behind its end for a while: the result of the separate consumer.
    async fn read_on(&self, here: Option<i64>, tail: &mut Tail) -> Option<TailContent> {
        let (group, partition) = (&*self.group, self.partition);
        if let Some(reading) = tail.reading.take_if(|reading| reading.task.is_finished()) {
            let TailRead { from, task } = reading;
            match task.await.map_err(no_result).flatten() {
                Ok(behind) if from == here => return Some(behind),
                // Records came in meanwhile.
                Ok(_) => {}
                Err(error) => tracing::warn!(group, partition, error = format!("{error:#}"), "cannot read ahead"),
            }
        }
        let since = match tail.stands {
            Some((at, since)) if at == here => since,
            _ => tail.stands.insert((here, Instant::now())).1,
        };
        let end = self.signals.stable_end.load(Ordering::Relaxed);
        let is_behind = here.map_or(end > 0, |here| here < end);
        let (after, interval) = match tail.met_unreadable {
            Some(met) if met.elapsed() < RECENT => (READ_AGAIN_AFTER, READ_AGAIN_AFTER),
            _ => (READ_AFTER, READ_INTERVAL),
        };
        let is_due = since.elapsed() >= after && tail.read.is_none_or(|read| read.elapsed() >= interval);
        if is_behind && is_due && tail.reading.is_none() {
            tail.read = Some(Instant::now());
            let (given, topic) = (Arc::clone(&self.dependencies), self.topic.clone());
            // The end was measured before this begins: everything before it is there.
            let read = move || read_tail(&given.client, &given.source.group, &topic, partition, here, end);
            tail.reading = Some(TailRead { from: here, task: tokio::task::spawn_blocking(read) });
        }
        None
    }
}
