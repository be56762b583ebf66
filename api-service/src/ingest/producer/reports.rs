//! Passes delivery reports from librdkafka's thread to the waiting requests.
//!
//! Many reports come at a time, on a thread of librdkafka. Waking a task from there costs a lock and a system call. So
//! that thread wakes one task of each core whose requests they are about, and this task, inside the core's runtime, wakes
//! the others at almost no cost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Message as _, Statistics};
use shared::kafka::{self, is_too_large};
use shared::runtime::cores::{PerCore, Place};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The result of a record: its partition and offset, or the error.
pub(super) type Report = Result<(i32, i64), KafkaError>;

/// The context of a record in librdkafka: the reports of its request, and its index among them.
pub(super) type Waiting = Box<(Arc<Batch>, usize)>;

/// The reports of a request's events. The request is woken once, when all are there.
pub(super) struct Batch {
    /// Where the request runs.
    place: Place,
    /// Its only event was gathered with others.
    is_gathered: bool,
    /// That event was not handed over; its report says why.
    was_refused: AtomicBool,
    reports: Mutex<Vec<Option<Report>>>,
    left: AtomicUsize,
    settled: Notify,
}

impl Batch {
    pub(super) fn new(events: usize) -> Arc<Self> {
        Self::of(events, false)
    }

    /// For an event that is gathered with those of other requests.
    pub(super) fn gathered() -> Arc<Self> {
        Self::of(1, true)
    }

    fn of(events: usize, is_gathered: bool) -> Arc<Self> {
        Arc::new(Self {
            place: Place::here(),
            is_gathered,
            was_refused: AtomicBool::new(false),
            reports: Mutex::new(vec![None; events]),
            left: AtomicUsize::new(events),
            settled: Notify::new(),
        })
    }

    pub(super) fn waiting(self: &Arc<Self>, index: usize) -> Waiting {
        Box::new((Arc::clone(self), index))
    }

    /// Marks one event as settled, because it has its report or was not handed over. True if it was the last.
    pub(super) fn skip(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(super) async fn settled(&self) {
        if self.left.load(Ordering::Acquire) > 0 {
            self.settled.notified().await;
        }
    }

    pub(super) fn reports(&self) -> Vec<Option<Report>> {
        std::mem::take(&mut self.held())
    }

    /// Whether the client did not take the gathered event.
    pub(super) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Acquire)
    }

    /// Stores a report. True if it was the last.
    fn put(&self, index: usize, report: Report) -> bool {
        // After the deadline the request has taken the reports, and there is no entry.
        if let Some(place) = self.held().get_mut(index) {
            *place = Some(report);
        }
        self.skip()
    }

    fn held(&self) -> MutexGuard<'_, Vec<Option<Report>>> {
        // A panic of the lock's holder cannot leave the vector inconsistent.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What follows a report; shared by a sender and all its clients.
#[derive(Default)]
pub(super) struct Reported {
    /// To the task of each core that wakes its requests. Bounded by what the clients hold: each entry had a record there.
    cores: PerCore<UnboundedSender<Arc<Batch>>>,
    /// Called for each report of a gathered event.
    of_gathered: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Reported {
    /// Calls this for each report of a gathered event. The second call does nothing.
    pub(super) fn then(&self, call: impl Fn() + Send + Sync + 'static) {
        // An error returns the second one.
        drop(self.of_gathered.set(Box::new(call)));
    }

    /// Prepares this core for the reports of its requests.
    pub(super) fn attend(&self) {
        self.cores.here(|| {
            let (settled, all) = unbounded_channel();
            // Ends when the sender and its clients are dropped.
            tokio::spawn(wake(all));
            settled
        });
    }

    /// The client did not take a gathered event.
    pub(super) fn refused(&self, batch: Arc<Batch>, error: KafkaError) {
        batch.was_refused.store(true, Ordering::Release);
        self.put(batch, 0, Err(error));
    }

    fn put(&self, batch: Arc<Batch>, index: usize, report: Report) {
        let is_gathered = batch.is_gathered;
        if batch.put(index, report)
            && let Some(settled) = self.cores.at(batch.place)
        {
            // Without a receiver no request is left to wake.
            let _ = settled.send(batch);
        }
        if is_gathered && let Some(call) = self.of_gathered.get() {
            call();
        }
    }
}

/// Gets the reports of one client.
pub(super) struct Reports {
    /// The client's topic.
    topic: String,
    reported: Arc<Reported>,
    was_refused: Arc<AtomicBool>,
}

impl Reports {
    /// For one client of this topic. Sets `was_refused` when a batch was refused as too large.
    pub(super) fn new(topic: &str, reported: Arc<Reported>, was_refused: Arc<AtomicBool>) -> Self {
        Self { topic: topic.to_owned(), reported, was_refused }
    }
}

async fn wake(mut all: UnboundedReceiver<Arc<Batch>>) {
    let mut some = Vec::new();
    while all.recv_many(&mut some, 256).await > 0 {
        some.drain(..).for_each(|batch| batch.settled.notify_one());
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, what: &str, message: &str) {
        kafka::log(level, what, message);
    }

    fn stats(&self, statistics: Statistics) {
        for (name, value) in [
            ("kafka_queue_records", statistics.msg_cnt),
            ("kafka_queue_bytes", statistics.msg_size),
            ("kafka_queue_limit_bytes", statistics.msg_size_max),
        ] {
            metrics::gauge!(name, "topic" => self.topic.clone()).set(value as f64);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Waiting;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Waiting) {
        let report = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => {
                if error.rdkafka_error_code().is_some_and(is_too_large) {
                    self.was_refused.store(true, Ordering::Release);
                }
                Err(error.clone())
            }
        };
        let (batch, index) = *waiting;
        self.reported.put(batch, index, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_is_settled_when_each_has_a_report_or_needs_none() {
        let batch = Batch::new(3);
        let mut settled = std::pin::pin!(batch.settled());
        assert!(!batch.put(2, Ok((1, 7))) && !batch.skip());
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut settled).await.is_err());
        assert!(batch.put(0, Err(KafkaError::Canceled)), "the last");
        batch.settled.notify_one();
        settled.await;
        batch.settled().await;
        let reports = batch.reports();
        assert!(matches!(reports[..], [Some(Err(KafkaError::Canceled)), None, Some(Ok((1, 7)))]), "{reports:?}");
        batch.put(1, Ok((0, 0)));
    }
}
