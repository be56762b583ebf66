//! A client of librdkafka, and its successors: a client is replaced after a fatal error, and when its batches exceed
//! the topic's limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};
use shared::kafka::ids::Key;
use shared::kafka::topics::setup;
use shared::kafka::{self, Detached, Outgoing};
use shared::runtime::lifecycle::no_result;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::gather::{Added, Gather};
use super::limit::BatchLimit;
use super::reports::{Batch, Reported, Reports, Waiting};

/// How long a replaced client may take to settle its records, beyond the message timeout, after which it holds none.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the queue of a failed client is purged: records may still enter it.
const PURGE_INTERVAL: Duration = Duration::from_millis(20);
/// How long Kafka may take to return the limit of a batch.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The least time between two replacements.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) enum Batching {
    /// Up to a limit; these settings are for asking Kafka for it.
    UpTo(Arc<BatchLimit>, ClientConfig),
    /// Each record is sent by itself.
    Off,
}

pub(super) struct Sender {
    client: ArcSwap<Client>,
    settings: ClientConfig,
    batching: Batching,
    topic: String,
    message_timeout: Duration,
    due: mpsc::Sender<()>,
    reported: Arc<Reported>,
    /// `None` if the client gathers by itself: it has a linger, or sends each event alone.
    gather: Option<Gather<(Record, Arc<Batch>)>>,
}

/// An event as the client takes it.
struct Record {
    headers: OwnedHeaders,
    key: Key,
    data: Bytes,
}

/// A wave of gathered events that waits for those under way. It goes when this is dropped, if it has not gone before.
pub(super) struct Opened<'a> {
    sender: &'a Sender,
    wave: u64,
}

/// One client. The events of one request that have to keep their order go to the same client: after it has failed at
/// one of them, the later ones must not reach its successor.
pub(super) struct Client {
    producer: Detached<ThreadedProducer<Reports>>,
    batch_bytes: usize,
    /// Whether one of its batches was refused as too large.
    was_refused: Arc<AtomicBool>,
}

impl Sender {
    /// A sender to this topic. It connects and reconnects by itself.
    pub(super) fn start(
        settings: ClientConfig,
        batching: Batching,
        topic: &str,
        message_timeout: Duration,
    ) -> anyhow::Result<Arc<Self>> {
        let reported = Arc::<Reported>::default();
        let client = Client::start(&settings, topic, batching.bytes(), &reported)?;
        let (due, is_due) = mpsc::channel(1);
        let has_linger = settings.get("linger.ms").is_none_or(|linger| linger != "0");
        let gathers = !has_linger && matches!(batching, Batching::UpTo(..));
        let sender = Arc::new(Self {
            client: ArcSwap::from_pointee(client),
            settings,
            batching,
            topic: topic.to_owned(),
            message_timeout,
            due,
            reported,
            gather: gathers.then(Gather::default),
        });
        let weak = Arc::downgrade(&sender);
        sender.reported.then(move || {
            if let Some(sender) = weak.upgrade() {
                sender.of_gathered_reported();
            }
        });
        tokio::spawn(Self::replace_when_due(Arc::downgrade(&sender), is_due));
        Ok(sender)
    }

    /// The current client. Callers drop it before they wait, so that no request keeps a replaced client alive or drops
    /// it.
    pub(super) fn client(&self) -> arc_swap::Guard<Arc<Client>> {
        self.client.load()
    }

    /// Copies an event into the client's queue. Does not wait if the queue is full.
    pub(super) fn hand_over(&self, client: &Client, event: &Outgoing, waiting: Waiting) -> Result<(), KafkaError> {
        self.reported.attend();
        client.send(&self.topic, Record::of(event), waiting)
    }

    /// Whether single events are to be gathered.
    pub(super) const fn gathers(&self) -> bool {
        self.gather.is_some()
    }

    /// Hands over an event now, or together with others; its report is in `batch` then. If it is the first that waits,
    /// the caller must drop the wave that it opened within [`LONGEST`](super::gather::LONGEST).
    pub(super) fn gather(&self, event: &Outgoing, batch: &Arc<Batch>) -> Option<Opened<'_>> {
        let gather = self.gather.as_ref()?;
        self.reported.attend();
        match gather.add((Record::of(event), Arc::clone(batch))) {
            Added::Goes(one) => self.hand_over_gathered([one]),
            Added::Opens(wave) => return Some(Opened { sender: self, wave }),
            Added::Waits => {}
        }
        None
    }

    fn hand_over_gathered(&self, events: impl IntoIterator<Item = (Record, Arc<Batch>)>) {
        for (record, batch) in events {
            let waiting = batch.waiting(0);
            if let Err(error) = self.client().send(&self.topic, record, waiting) {
                self.reported.refused(batch, error);
            }
        }
    }

    /// The reports of these events have come. librdkafka's thread calls this, too, so that the events which wait for these
    /// reports are sent without waking another thread.
    fn of_gathered_reported(&self) {
        if let Some(gather) = &self.gather {
            self.hand_over_gathered(gather.reported());
        }
    }

    /// Replaces the client in the background, if that is due.
    pub(super) fn replace(&self) {
        if self.client().is_due(&self.batching) {
            // If a call is waiting already, it covers this one, too.
            let _ = self.due.try_send(());
        }
    }

    /// Ends when the sender is dropped.
    async fn replace_when_due(sender: Weak<Self>, mut is_due: mpsc::Receiver<()>) {
        while let (Some(()), Some(sender)) = (is_due.recv().await, sender.upgrade()) {
            while sender.client().is_due(&sender.batching) {
                if let Err(error) = sender.rebuild(sender.client.load_full()).await {
                    tracing::error!(error = format!("{error:#}"), "cannot create another producer");
                }
                // A lasting cause must not make this a busy loop.
                sleep(REPLACE_INTERVAL).await;
            }
        }
    }

    async fn rebuild(self: &Arc<Self>, old: Arc<Client>) -> anyhow::Result<()> {
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
        // Blocking: it may read certificates.
        let fresh = tokio::task::spawn_blocking(move || {
            Client::start(&sender.settings, &sender.topic, sender.batching.bytes(), &sender.reported)
        });
        self.client.store(Arc::new(fresh.await.map_err(no_result)??));
        // Delivery reports of the old client still reach their requests before it is dropped.
        tokio::task::spawn_blocking(move || old.settle(message_timeout));
        Ok(())
    }

    /// After a refused batch: takes the limit from Kafka, or halves it.
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

    /// Waits until every event that was handed over has its report: a client that is dropped earlier purges its queue.
    pub(super) async fn flush(self: &Arc<Self>) {
        self.hand_over_gathered(self.gather.iter().flat_map(Gather::release_all));
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
    fn start(
        settings: &ClientConfig,
        topic: &str,
        batch_bytes: usize,
        reported: &Arc<Reported>,
    ) -> anyhow::Result<Self> {
        let was_refused = Arc::new(AtomicBool::new(false));
        let reports = Reports::new(topic, Arc::clone(reported), Arc::clone(&was_refused));
        let mut settings = settings.clone();
        settings.set("batch.size", batch_bytes.to_string());
        let producer = settings.create_with_context(reports).context("cannot create a Kafka client")?;
        Ok(Self { producer, batch_bytes, was_refused })
    }

    fn send(&self, topic: &str, Record { headers, key, data }: Record, waiting: Waiting) -> Result<(), KafkaError> {
        let record =
            BaseRecord::with_opaque_to(topic, waiting).key(key.as_str()).payload(data.as_ref()).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error)
    }

    fn is_due(&self, batching: &Batching) -> bool {
        self.batch_bytes != batching.bytes() || self.has_failed()
    }

    /// Whether its batches are within the topic's known or assumed limit. After the limit has become known, an older
    /// client is replaced a moment later.
    pub(super) fn keeps_to(&self, limit: &BatchLimit) -> bool {
        self.batch_bytes <= limit.bytes()
    }

    /// Whether it has a fatal error: an unexplained gap in its sequence, or a refused batch.
    pub(super) fn has_failed(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    /// Waits until each record has its report. A failed client will never send the records it holds: they are returned.
    fn settle(&self, message_timeout: Duration) {
        let deadline = Instant::now() + message_timeout + RETIRE_TIMEOUT;
        while Instant::now() < deadline {
            if self.has_failed() {
                // Repeatedly, because records in flight come back into the queue.
                self.producer.purge(PurgeConfig::default().queue());
            }
            if self.producer.flush(PURGE_INTERVAL).is_ok() {
                return;
            }
        }
    }
}

impl Record {
    fn of(event: &Outgoing) -> Self {
        let mut headers = Some(OwnedHeaders::new_with_capacity(kafka::max_headers(event)));
        kafka::each_header(event, |key, value| {
            headers = headers.take().map(|all| all.insert(Header { key, value: Some(value) }));
        });
        let (key, data) = (event.envelope.key.clone(), event.envelope.data.clone());
        Self { headers: headers.unwrap_or_default(), key, data }
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let gather = self.sender.gather.iter();
        self.sender.hand_over_gathered(gather.flat_map(|gather| gather.release(self.wave)));
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
