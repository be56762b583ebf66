//! Records that an operator skipped, because they cannot be read (`worker-service seek --past-unreadable`). They are
//! lost, and the worker counts them as such.

use std::sync::atomic::Ordering;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer as _};

use super::PartitionRunner;
use crate::consumer::handler::Handler;
use crate::consumer::seek::Skipped;

impl<H: Handler> PartitionRunner<H> {
    /// Tells what was skipped, if the committed offset says that something was, and takes the note away.
    pub(super) fn note_skipped(&self, committed: &TopicPartitionList) {
        let elements = committed.elements();
        let Some((element, Skipped { from, to })) = elements.first().and_then(|it| Some((it, Skipped::of(it)?))) else {
            return;
        };
        let (partition, lost) = (self.partition, to.abs_diff(from));
        // A runner that begins anew before the note is gone finds it again.
        if self.signals.skipped_to.swap(to, Ordering::Relaxed) < to {
            self.dependencies.health.records_lost(lost);
            tracing::error!(
                group = &*self.group,
                partition,
                expected = from,
                offset = to,
                lost,
                "data loss: an operator skipped unreadable records"
            );
        }
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, partition, element.offset());
        // Until this is there, the next to begin tells it again.
        if let Err(error) = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            tracing::warn!(group = &*self.group, partition, %error, "cannot remove the note of the skipped records");
        }
    }
}
