//! From librdkafka's thread to who waits: delivery reports.
//!
//! Reports come many at a time, on a thread of librdkafka's. To wake a task from there costs a lock and
//! often a system call, so that thread wakes one task for all of them, and that one, inside the
//! runtime, wakes the others for next to nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Message as _, Statistics};
use shared::kafka::{self, is_too_large};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What became of a record: its partition and offset, or why it has none.
pub(super) type Report = Result<(i32, i64), KafkaError>;

/// What a record waits with: its request's reports, and its place among them.
pub(super) type Waiting = Box<(Arc<Batch>, usize)>;

/// The reports of a request's events. It is woken once, when all are there.
pub(super) struct Batch {
    reports: Mutex<Vec<Option<Report>>>,
    left: AtomicUsize,
    settled: Notify,
}

impl Batch {
    pub(super) fn new(events: usize) -> Arc<Self> {
        Arc::new(Self {
            reports: Mutex::new(vec![None; events]),
            left: AtomicUsize::new(events),
            settled: Notify::new(),
        })
    }

    pub(super) fn waiting(self: &Arc<Self>, index: usize) -> Waiting {
        Box::new((Arc::clone(self), index))
    }

    /// One event needs no report any more, or was not handed over at all. Whether it was the last.
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

    /// Takes a report. Whether it was the last.
    fn put(&self, index: usize, report: Report) -> bool {
        // After the deadline nobody looks any more, and there is no place.
        if let Some(place) = self.held().get_mut(index) {
            *place = Some(report);
        }
        self.skip()
    }

    fn held(&self) -> MutexGuard<'_, Vec<Option<Report>>> {
        // The vector is whole whenever the lock is free, whatever the holder's fate.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Reports {
    /// The client's topic.
    topic: String,
    settled: UnboundedSender<Arc<Batch>>,
    was_refused: Arc<AtomicBool>,
}

impl Reports {
    /// For one client of this topic, with what has to run beside it until it is gone. It notes there that a batch was
    /// refused as too large.
    pub(super) fn new(topic: &str, was_refused: Arc<AtomicBool>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        // Bounded by the client's queue: each has a record in there.
        let (settled, all) = unbounded_channel();
        (Self { topic: topic.to_owned(), settled, was_refused }, wake(all))
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
        if batch.put(index, report) {
            // Who is not there any more wakes nobody.
            let _ = self.settled.send(batch);
        }
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
