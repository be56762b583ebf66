//! A client of librdkafka's, and its successors: one that has failed for good is replaced, and one whose
//! batches are larger than the topic takes, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};
use shared::kafka;
use shared::kafka::Outgoing;
use shared::kafka::topics::setup;
use shared::runtime::lifecycle::no_result;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::limit::BatchLimit;
use super::reports::{Reports, Waiting};

/// How long a client that is replaced may take to settle what it holds, beyond the message timeout,
/// after which it holds nothing.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a client that has failed is told to give back what came into its queue meanwhile.
const PURGE_INTERVAL: Duration = Duration::from_millis(20);
/// How long Kafka may take to say how large a batch may be.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The least time from one replacement to the next.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) enum Batching {
    /// Of as many records as fit, where the topic is asked with these settings what it takes.
    UpTo(Arc<BatchLimit>, ClientConfig),
    /// Each record goes by itself.
    Off,
}

pub(super) struct Sender {
    client: ArcSwap<Client>,
    settings: ClientConfig,
    batching: Batching,
    topic: String,
    message_timeout: Duration,
    due: mpsc::Sender<()>,
}

/// One client. Events of one request that have to keep their order go to the same one: what stands behind
/// a gap in one that has failed must not reach its successor.
pub(super) struct Client {
    producer: ThreadedProducer<Reports>,
    batch_bytes: usize,
    /// Whether a batch of it was refused as too large.
    was_refused: Arc<AtomicBool>,
}

impl Sender {
    /// A sender to this topic. It connects by itself, and again.
    pub(super) fn start(
        settings: ClientConfig,
        batching: Batching,
        topic: &str,
        message_timeout: Duration,
    ) -> anyhow::Result<Arc<Self>> {
        let client = Client::start(&settings, topic, batching.bytes())?;
        let (due, is_due) = mpsc::channel(1);
        let sender = Arc::new(Self {
            client: ArcSwap::from_pointee(client),
            settings,
            batching,
            topic: topic.to_owned(),
            message_timeout,
            due,
        });
        tokio::spawn(Self::replace_when_due(Arc::downgrade(&sender), is_due));
        Ok(sender)
    }

    /// The client of now. A caller lets it go before it waits, so that one that is replaced is neither kept
    /// alive nor dropped by a request.
    pub(super) fn client(&self) -> arc_swap::Guard<Arc<Client>> {
        self.client.load()
    }

    /// Puts an event into the client's queue, which copies it. It never sleeps while the queue is full.
    pub(super) fn hand_over(&self, client: &Client, event: &Outgoing, waiting: Waiting) -> Result<(), KafkaError> {
        let mut headers = Some(OwnedHeaders::new_with_capacity(kafka::MAX_HEADERS));
        kafka::each_header(event, |key, value| {
            headers = headers.take().map(|all| all.insert(Header { key, value: Some(value) }));
        });
        let mut record = BaseRecord::with_opaque_to(&self.topic, waiting)
            .key(event.envelope.key.as_str())
            .payload(event.envelope.data.as_ref());
        record.headers = headers;
        client.producer.send(record).map_err(|(error, _)| error)
    }

    /// Has the client replaced where that is due, in the background.
    pub(super) fn replace(&self) {
        if self.client().is_due(&self.batching) {
            // Where one call waits already, it is for this one too.
            let _ = self.due.try_send(());
        }
    }

    /// Ends with the sender.
    async fn replace_when_due(sender: Weak<Self>, mut is_due: mpsc::Receiver<()>) {
        while let (Some(()), Some(sender)) = (is_due.recv().await, sender.upgrade()) {
            while sender.client().is_due(&sender.batching) {
                if let Err(error) = sender.start_anew(sender.client.load_full()).await {
                    tracing::error!(error = format!("{error:#}"), "cannot create another producer");
                }
                // A cause that lasts must not keep us busy with nothing else.
                sleep(REPLACE_INTERVAL).await;
            }
        }
    }

    async fn start_anew(self: &Arc<Self>, old: Arc<Client>) -> anyhow::Result<()> {
        let message_timeout = self.message_timeout;
        if let Some((code, reason)) = old.producer.client().fatal_error() {
            let failed = Arc::clone(&old);
            tokio::task::spawn_blocking(move || failed.settle(message_timeout)).await.map_err(no_result)?;
            if code == RDKafkaErrorCode::GaplessGuarantee && old.was_refused.load(Ordering::Acquire) {
                self.make_smaller(old.batch_bytes).await;
            } else {
                tracing::error!(%code, reason, "the producer failed: replacing it");
                metrics::counter!("kafka_producer_rebuilt_total").increment(1);
            }
        }
        let sender = Arc::clone(self);
        // It may read certificates.
        let fresh = tokio::task::spawn_blocking(move || {
            Client::start(&sender.settings, &sender.topic, sender.batching.bytes())
        });
        self.client.store(Arc::new(fresh.await.map_err(no_result)??));
        // Whoever waits for a delivery report of the old one gets it before it goes.
        tokio::task::spawn_blocking(move || old.settle(message_timeout));
        Ok(())
    }

    /// A batch was refused. Kafka says how large one may be, or it becomes half as large.
    async fn make_smaller(&self, batch_bytes: usize) {
        let Batching::UpTo(limit, admin) = &self.batching else { return };
        let asked = timeout(ASK_TIMEOUT, setup::write_limits(admin, &self.topic));
        match asked.await.map_err(anyhow::Error::from).flatten() {
            Ok(limits) => limit.learn(limits.max_message_bytes),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "cannot read the topic's limit for a batch: this needs the right DescribeConfigs on the topic"
            ),
        }
        limit.refused(batch_bytes);
        tracing::warn!(
            refused = batch_bytes,
            now = limit.bytes(),
            "a batch was larger than the topic accepts: sending its events again, and smaller batches from now on"
        );
    }

    /// Waits until everything that was handed over is settled: a client that is dropped before purges its
    /// queue.
    pub(super) async fn flush(self: &Arc<Self>) {
        let sender = Arc::clone(self);
        let flushed = tokio::task::spawn_blocking(move || {
            let client = sender.client.load_full();
            (client.producer.flush(sender.message_timeout), client.producer.in_flight_count())
        });
        match flushed.await {
            Ok((Ok(()), _)) => {}
            Ok((Err(error), left)) => {
                tracing::warn!(%error, left, "some events are not acknowledged after the last flush")
            }
            Err(_) => tracing::error!("flushing the producer panicked"),
        }
    }
}

impl Client {
    fn start(settings: &ClientConfig, topic: &str, batch_bytes: usize) -> anyhow::Result<Self> {
        let was_refused = Arc::new(AtomicBool::new(false));
        let (reports, hand_out) = Reports::new(topic, Arc::clone(&was_refused));
        let mut settings = settings.clone();
        settings.set("batch.size", batch_bytes.to_string());
        let producer = settings.create_with_context(reports).context("cannot create a Kafka client")?;
        // Ends with the client.
        tokio::spawn(hand_out);
        Ok(Self { producer, batch_bytes, was_refused })
    }

    fn is_due(&self, batching: &Batching) -> bool {
        self.batch_bytes != batching.bytes() || self.has_failed()
    }

    /// Whether its batches are no larger than the topic is known, or assumed, to take. One that was started before
    /// that was known is replaced only a moment after.
    pub(super) fn keeps_to(&self, limit: &BatchLimit) -> bool {
        self.batch_bytes <= limit.bytes()
    }

    /// Whether it stopped for good: at a gap in its sequence that it cannot explain, or a refused batch.
    pub(super) fn has_failed(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    /// Waits until each record has its report. What a client that has failed holds, and will never send, is
    /// given back.
    fn settle(&self, message_timeout: Duration) {
        let deadline = Instant::now() + message_timeout + RETIRE_TIMEOUT;
        while Instant::now() < deadline {
            if self.has_failed() {
                // Again and again: what was on its way comes back into the queue.
                self.producer.purge(PurgeConfig::default().queue());
            }
            if self.producer.flush(PURGE_INTERVAL).is_ok() {
                return;
            }
        }
    }
}

impl Batching {
    fn bytes(&self) -> usize {
        match self {
            Self::UpTo(limit, _) => limit.bytes(),
            Self::Off => 1,
        }
    }
}
