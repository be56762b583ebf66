//! The transactional producer of the relay. Whoever opens one with the same id shuts out all earlier ones: none of them
//! can append anything any more. Blocks its thread; each call has a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message as _};
use shared::kafka::topics::setup::MAX_RECORD_BYTES;
use shared::kafka::{self, Detached};
use shared::runtime::sabotage::makes;
use shared::store::outbox::relay::{Offsets, OutboxRow};
use tokio_util::sync::CancellationToken;

use super::record::record;

/// The most bytes of data of one transaction, unless a single event has more.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The most events of one transaction that `OUTBOX_BATCH_ROWS` allows.
pub const MAX_BATCH_ROWS: u32 = 10_000;
/// How long Kafka may take to end an earlier producer's transaction and to begin a new epoch.
const INIT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one call of librdkafka waits for it. The next call resumes; in between a shutdown is noticed.
const INIT_STEP: Duration = Duration::from_millis(500);
/// After this time Kafka aborts a transaction whose producer is gone.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for reports at a time: `poll` of rust-rdkafka waits for all of this, whatever comes meanwhile.
const REPORT_INTERVAL: Duration = Duration::from_millis(1);
/// The limit for the records of a transaction, and for its end.
const SEND_TIMEOUT: Duration = Duration::from_secs(8);
const END_TIMEOUT: Duration = Duration::from_secs(9);

/// The id that all relays of this outbox and this topic have, and no others.
pub fn transactional_id(identity: &str, topic: &str) -> String {
    if makes("unfenced-relay") || makes("relay-skip-locked") {
        return format!("outbox-relay-{:016x}", fastrand::u64(..));
    }
    format!("outbox-relay-{identity}-{topic}")
}

/// A producer of one epoch. After any error it is thrown away: librdkafka may send the end of a transaction later, and
/// it must not meet the next transaction.
pub struct Transactional {
    producer: Detached<BaseProducer<Reports>>,
    topic: String,
}

impl Transactional {
    /// Opens a producer, and shuts out all earlier ones with this id. Gives up when `stop` is cancelled.
    pub fn open(client: &ClientConfig, topic: &str, id: &str, stop: &CancellationToken) -> anyhow::Result<Self> {
        let mut config = client.clone();
        let millis = |time: Duration| time.as_millis().to_string();
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", millis(TRANSACTION_TIMEOUT))
            .set("message.timeout.ms", millis(SEND_TIMEOUT))
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // As all writers: a key's events go to one partition.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string());
        kafka::set_default(&mut config, "compression.type", "lz4");
        let producer: Detached<BaseProducer<Reports>> =
            config.create_with_context(Reports::default()).context("cannot create a Kafka client")?;
        let deadline = Instant::now() + INIT_TIMEOUT;
        loop {
            match producer.init_transactions(INIT_STEP) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && Instant::now() < deadline && !stop.is_cancelled() => {}
                Err(error) => return Err(error).context("Kafka did not begin a new epoch of the relay"),
            }
        }
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Writes these events in one transaction, all or none. Returns for each partition the offset behind its last one.
    /// After an error it is unknown whether they are written.
    pub fn publish(&self, rows: &[OutboxRow]) -> anyhow::Result<Offsets> {
        let Self { producer, topic } = self;
        producer.context().take();
        producer.begin_transaction().context("cannot begin a transaction")?;
        for row in rows {
            producer.send(record(topic, row)).map_err(|(error, _)| error).context("cannot send an event")?;
        }
        let ends = self.acknowledged(rows.len())?;
        producer.commit_transaction(END_TIMEOUT).context("Kafka did not commit a transaction")?;
        Ok(ends)
    }

    /// Writes an empty record to each of these partitions in one transaction, and aborts it: its marker ends whatever
    /// this transactional id has open there, whether or not Kafka's coordinator knows of that.
    pub fn abort_in(&self, partitions: &[i32]) -> anyhow::Result<()> {
        let Self { producer, topic } = self;
        producer.context().take();
        producer.begin_transaction().context("cannot begin a transaction")?;
        for partition in partitions {
            let record = BaseRecord::<str, str>::to(topic).partition(*partition).payload("");
            producer.send(record).map_err(|(error, _)| error).context("cannot send a record")?;
        }
        // Only then the transaction has the partitions.
        self.acknowledged(partitions.len())?;
        producer.abort_transaction(END_TIMEOUT).context("Kafka did not abort a transaction")
    }

    /// Waits until Kafka has acknowledged all records of a transaction. Returns for each partition the offset behind
    /// the last one.
    fn acknowledged(&self, all: usize) -> anyhow::Result<Offsets> {
        let producer = &self.producer;
        // `flush` may wait for a tenth of a second after the last report (measured: it halves the relay's rate).
        let deadline = Instant::now() + SEND_TIMEOUT;
        while producer.context().count() < all && Instant::now() < deadline {
            producer.poll(REPORT_INTERVAL);
        }
        let reports = producer.context().take();
        let found = reports.len();
        ensure!(found == all, "Kafka did not acknowledge the events of a transaction: {found} of {all} have a report");
        let mut ends = Offsets::new();
        for report in reports {
            let (partition, offset) = report.context("Kafka refused an event")?;
            // librdkafka may conclude that a record is written, and be wrong.
            ensure!(kafka::is_acknowledged(offset), "an event has no offset");
            let end = ends.entry(partition).or_insert(0);
            *end = (*end).max(offset + 1);
        }
        Ok(ends)
    }

    /// Whether another producer has shut out this one.
    pub fn is_fenced(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }
}

/// The partition and the offset of a record, or why it was not written.
type Report = Result<(i32, i64), KafkaError>;

/// Collects the reports of the records of a transaction.
#[derive(Default)]
struct Reports(Mutex<Vec<Report>>);

impl Reports {
    fn count(&self) -> usize {
        self.0.lock().len()
    }

    fn take(&self) -> Vec<Report> {
        std::mem::take(&mut self.0.lock())
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        kafka::log(level, what, detail);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log_error(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let report = match delivered {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().push(report);
    }
}
