//! Hands events to Kafka and waits for the acknowledgement of all in-sync replicas.

mod reports;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use metrics::{Counter, Histogram};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use shared::event::Event;
use shared::topic;
use tokio::time::{Instant, timeout_at};

use self::reports::{Batch, Report, Reports, Waiting};
use crate::config::Config;

type Client = ThreadedProducer<Reports>;

/// How long a producer that is replaced may take to settle what it holds, beyond the message
/// timeout, after which it holds nothing.
const RETIREMENT: Duration = Duration::from_secs(2);

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All in-sync replicas have it.
    Accepted {
        /// In this partition.
        partition: i32,
        /// At this offset.
        offset: i64,
    },
    /// It was not taken: too much waits already, or the producer has just failed.
    QueueFull,
    /// It was not taken: the service ends.
    Closed,
    /// It was not taken, and never will be.
    TooLarge,
    /// It was taken, but there was no acknowledgement in time.
    Unknown,
}

impl Outcome {
    /// Every one, as in the metrics.
    pub(crate) const ALL: [&str; 5] = ["accepted", "queue_full", "closed", "too_large", "unknown"];

    /// As in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::QueueFull => "queue_full",
            Self::Closed => "closed",
            Self::TooLarge => "too_large",
            Self::Unknown => "unknown",
        }
    }
}

/// The producer of the input topic. Cloning it shares the client.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    client: ArcSwap<Client>,
    settings: ClientConfig,
    topic: String,
    message_timeout: Duration,
    closed: AtomicBool,
    rebuilding: AtomicBool,
}

impl Producer {
    /// A producer; it connects by itself, and again.
    ///
    /// # Errors
    /// Settings that librdkafka does not take.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let settings = settings(config)?;
        Ok(Self(Arc::new(Inner {
            client: ArcSwap::from_pointee(start(&settings)?),
            settings,
            topic: config.topics.input.clone(),
            message_timeout: config.producer.message_timeout,
            closed: AtomicBool::new(false),
            rebuilding: AtomicBool::new(false),
        })))
    }

    /// The topic that it writes to.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Sends an event, and waits for what becomes of it, until the deadline at most.
    pub async fn send(&self, event: &Event, deadline: Instant) -> Outcome {
        let start = Instant::now();
        let outcome = self.settle(event, deadline).await;
        count(&[outcome]);
        DURATION.record(start.elapsed());
        outcome
    }

    /// Sends events in their order, and waits once for what becomes of all of them. Behind one that
    /// is not taken for want of room none is taken: a device's later event must not overtake an
    /// earlier one.
    pub async fn send_all(&self, events: &[Event], deadline: Instant) -> Vec<Outcome> {
        let start = Instant::now();
        let outcomes = self.settle_all(events, deadline).await;
        count(&outcomes);
        DURATION.record(start.elapsed());
        outcomes
    }

    async fn settle(&self, event: &Event, deadline: Instant) -> Outcome {
        if self.0.closed.load(Ordering::Relaxed) {
            return Outcome::Closed;
        }
        let (waiting, report) = Waiting::alone();
        // The client is let go before the wait, so that one that is replaced is not kept alive, nor
        // dropped, by a request.
        if let Err(error) = hand_over(&self.0.client.load(), &self.0.topic, event, waiting) {
            return self.refused(&error);
        }
        match timeout_at(deadline, report).await {
            Ok(Ok(report)) => self.outcome(&report),
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        }
    }

    async fn settle_all(&self, events: &[Event], deadline: Instant) -> Vec<Outcome> {
        let (refused, batch) = self.hand_over_all(events);
        // Those without a report at the deadline have none.
        let _ = timeout_at(deadline, batch.settled()).await;
        let reports = batch.reports();
        let outcome = |(refused, report): (Option<Outcome>, Option<Report>)| match (refused, report) {
            (Some(outcome), _) => outcome,
            (None, Some(report)) => self.outcome(&report),
            (None, None) => Outcome::Unknown,
        };
        refused.into_iter().zip(reports).map(outcome).collect()
    }

    /// Hands over what can be, and gives an outcome for each event that was not handed over. All go
    /// to one client: events behind a gap in one that has failed must not reach its successor.
    fn hand_over_all(&self, events: &[Event]) -> (Vec<Option<Outcome>>, Arc<Batch>) {
        let client = self.0.client.load();
        let mut stopped = self.0.closed.load(Ordering::Relaxed).then_some(Outcome::Closed);
        let batch = Batch::new(events.len());
        let mut refused = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            if stopped.is_none() {
                let Err(error) = hand_over(&client, &self.0.topic, event, batch.waiting(index)) else {
                    refused.push(None);
                    continue;
                };
                let outcome = self.refused(&error);
                // What is too large is no event for this topic, ever: nothing waits for it.
                stopped = (outcome != Outcome::TooLarge).then_some(outcome);
                refused.push(Some(outcome));
            } else {
                refused.push(stopped);
            }
            batch.skip();
        }
        (refused, batch)
    }

    fn outcome(&self, report: &Report) -> Outcome {
        match report {
            Ok((partition, offset)) => Outcome::Accepted { partition: *partition, offset: *offset },
            Err(error) => self.failed(error),
        }
    }

    /// It never left our hands.
    fn refused(&self, error: &KafkaError) -> Outcome {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => return Outcome::TooLarge,
            Some(RDKafkaErrorCode::QueueFull) => {}
            Some(RDKafkaErrorCode::Fatal) => self.rebuild(),
            _ => tracing::warn!(%error, "librdkafka did not take an event"),
        }
        Outcome::QueueFull
    }

    /// It was handed over, and came back.
    fn failed(&self, error: &KafkaError) -> Outcome {
        tracing::debug!(%error, "an event was not acknowledged");
        if self.0.client.load().client().fatal_error().is_some() {
            self.rebuild();
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Outcome::TooLarge,
            _ => Outcome::Unknown,
        }
    }

    /// Replaces a client that has failed for good: an idempotent producer stops for ever at the
    /// first gap that it cannot explain.
    fn rebuild(&self) {
        let inner = Arc::clone(&self.0);
        if inner.rebuilding.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::task::spawn_blocking(move || {
            // Of many requests that saw the same failure the first has replaced it already.
            let fatal = inner.client.load().client().fatal_error();
            let Some((code, reason)) = fatal else {
                inner.rebuilding.store(false, Ordering::Release);
                return;
            };
            tracing::error!(%code, reason, "the producer failed for good: starting another");
            metrics::counter!("kafka_producer_rebuilt_total").increment(1);
            let fresh = start(&inner.settings);
            let retired = match fresh {
                Ok(fresh) => Some(inner.client.swap(Arc::new(fresh))),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "cannot start another producer");
                    None
                }
            };
            inner.rebuilding.store(false, Ordering::Release);
            // Whoever waits for a delivery report of the old one gets it before it goes.
            if let Some(retired) = retired {
                let _ = retired.flush(inner.message_timeout + RETIREMENT);
            }
        });
    }

    /// Takes no more events.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Waits until everything that was handed over is settled: a client that is dropped before
    /// purges its queue.
    pub async fn flush(&self) {
        let inner = Arc::clone(&self.0);
        let flushed = tokio::task::spawn_blocking(move || {
            let client = inner.client.load_full();
            (client.flush(inner.message_timeout), client.in_flight_count())
        });
        match flushed.await {
            Ok((Ok(()), _)) => {}
            Ok((Err(error), left)) => tracing::warn!(%error, left, "events were left without an acknowledgement"),
            Err(_) => tracing::error!("flushing the producer panicked"),
        }
    }
}

/// Looked up once: a series costs more to find than to count.
static ACCEPTED: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("kafka_produce_total", "outcome" => "accepted"));
static DURATION: LazyLock<Histogram> = LazyLock::new(|| metrics::histogram!("kafka_produce_duration_seconds"));

fn count(outcomes: &[Outcome]) {
    let mut accepted = 0;
    for outcome in outcomes {
        match outcome {
            Outcome::Accepted { .. } => accepted += 1,
            other => metrics::counter!("kafka_produce_total", "outcome" => other.as_str()).increment(1),
        }
    }
    ACCEPTED.increment(accepted);
}

/// Puts an event into the client's queue, which copies it. It never sleeps while the queue is full.
fn hand_over(client: &Client, topic: &str, event: &Event, waiting: Box<Waiting>) -> Result<(), KafkaError> {
    let mut headers = Some(OwnedHeaders::new_with_capacity(topic::MAX_HEADERS));
    topic::each_header(event, |key, value| {
        headers = headers.take().map(|all| all.insert(Header { key, value: Some(value) }));
    });
    let mut record = BaseRecord::with_opaque_to(topic, waiting)
        .key(event.device_id.as_str())
        .payload(event.payload.as_bytes().as_ref());
    record.headers = headers;
    client.send(record).map_err(|(error, _)| error)
}

fn start(settings: &ClientConfig) -> anyhow::Result<Client> {
    let (reports, hand_out) = Reports::new();
    let client = settings.create_with_context(reports).context("the Kafka settings")?;
    // Ends with the client.
    tokio::spawn(hand_out);
    Ok(client)
}

/// What librdkafka is told.
///
/// # Errors
/// Settings of Kafka that contradict each other.
pub fn settings(config: &Config) -> anyhow::Result<ClientConfig> {
    let producer = &config.producer;
    let mut client = shared::kafka::client(&config.kafka)?;
    client
        .set("client.id", "api-service")
        // What a 202 rests on.
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // The one that Java clients use: whoever writes a device's events, they meet in one place.
        .set("partitioner", "murmur2_random")
        // Partitions that were added are seen by all instances within seconds: while they disagree on
        // the number, a device's events go to two partitions.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("compression.type", "lz4")
        // For the metrics of the queue.
        .set("statistics.interval.ms", "5000")
        .set("linger.ms", format!("{}", producer.linger.as_secs_f64() * 1000.0))
        .set("message.timeout.ms", producer.message_timeout.as_millis().to_string())
        .set("message.max.bytes", topic::setup::MAX_RECORD_BYTES.to_string())
        // Bounded by bytes. librdkafka counts those of payloads alone, so that events of a few bytes need
        // the bound on their number too: each costs about a kilobyte whatever it holds.
        .set("queue.buffering.max.kbytes", (producer.queue_bytes / 1024).max(1).to_string())
        .set("queue.buffering.max.messages", (producer.queue_bytes / 1024).clamp(1, 10_000_000).to_string());
    Ok(client)
}
