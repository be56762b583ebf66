//! What becomes of a partition whose own code panicked, or which stands still for no reason: it begins anew, and
//! neither the process nor another partition ends with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset;
use shared::store::StoreError;
use shared::topic::{Decoded, Reason, Record, Refusal};

use super::gaps::Gaps;
use super::{Driver, LOOK};
use crate::panics::{self, Panicked};

/// The first wait before a partition begins anew; each one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A partition that ran for so long begins with the first wait again.
const CALM: Duration = Duration::from_secs(600);
/// How long librdkafka may take to go back.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

impl Driver {
    /// Runs until told to stop, and ends between two effects, with the offset stored up to which all is done.
    /// After a panic outside of decoding and applying, which are caught for themselves, it begins anew where that
    /// offset is: what the lane held is in doubt, and nothing of it counts. So it does where it is asked to.
    pub async fn run(mut self) {
        let mut gaps = Gaps::new(self.partition);
        self.run_lanes(&mut gaps).await;
        self.look_for_last_losses(&mut gaps).await;
    }

    async fn run_lanes(&mut self, gaps: &mut Gaps) {
        let signals = Arc::clone(&self.signals);
        let mut from = self.ask_committed().await;
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = panics::caught_async(self.run_lane(from, gaps)) => Some(ended),
                () = signals.begin_anew.notified() => None,
            };
            match ended {
                Some(Ok(())) => return,
                Some(Err(panicked)) => {
                    if began.elapsed() > CALM {
                        wait = FIRST_WAIT;
                    }
                    self.note(&panicked);
                    let why = format!("{panicked}: it begins anew after {wait:?}");
                    self.tools.health.begins_anew(self.partition, why);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = self.stop.changed() => {}
                    }
                    wait = (2 * wait).min(LONGEST_WAIT);
                }
                None => {
                    signals.begun_anew.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(partition = self.partition, "the partition begins anew: it stood still");
                }
            }
            let Some(at) = self.go_back().await else { return };
            from = at;
        }
    }

    /// Has the client fetch anew from what is done; what it fetched before is dropped. None where it is to stop.
    async fn go_back(&mut self) -> Option<Option<i64>> {
        while !*self.stop.borrow() {
            let stored = self.signals.stored.load(Ordering::Relaxed);
            let from = if stored < 0 { self.ask_committed().await } else { Some(stored) };
            let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
            let to = from.map_or(Offset::Beginning, Offset::Offset);
            let seeking = move || consumer.seek(&topic, partition, to, SEEK_TIMEOUT);
            match tokio::task::spawn_blocking(seeking).await {
                Ok(Ok(())) => return Some(from),
                Ok(Err(error)) => self.tools.health.waits_to_begin(partition, format!("going back: {error}")),
                Err(error) => self.tools.health.waits_to_begin(partition, format!("going back: {error}")),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.stop.changed() => {}
            }
        }
        None
    }

    /// The event in a record. Where decoding panics, it is as if it were no event.
    pub(super) fn decoded(&self, record: &Record) -> Result<Decoded, Refusal> {
        panics::caught(|| (self.tools.decode)(record)).unwrap_or_else(|panicked| {
            self.note(&panicked);
            Err(Refusal { reason: Reason::Panicked, error: panicked.to_string() })
        })
    }

    /// How applying went, where it may have panicked.
    pub(super) fn outcome(&self, applied: Result<Result<(), StoreError>, Panicked>) -> Result<(), StoreError> {
        applied.unwrap_or_else(|panicked| {
            self.note(&panicked);
            Err(StoreError::panicked(panicked.to_string()))
        })
    }

    fn note(&self, panicked: &Panicked) {
        metrics::counter!("panics_total").increment(1);
        self.tools.health.panicked(self.partition);
        tracing::error!(partition = self.partition, error = %panicked, "a panic was caught");
    }
}
