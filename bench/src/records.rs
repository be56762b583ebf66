//! Events as devices send them, as records in Kafka, and decoded in memory.

mod payload;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use shared::devices::{DeviceDelivery, Event, EventType};
use shared::kafka::position::Position;
use shared::kafka::{self, Envelope, Outgoing, header};
use shared::runtime::json::Payload;
use shared::store::outbox::relay::OutboxRow;
use time::OffsetDateTime;

use crate::bed::Site;
pub(crate) use payload::payload;

pub(crate) fn device(number: usize) -> String {
    format!("device-{number:06}")
}

pub(crate) fn body(number: usize, bytes: usize) -> String {
    format!(r#"{{"device_id":"{}","payload":{}}}"#, device(number), payload(number, bytes))
}

pub(crate) fn lines(folder: &Path, name: &str, lines: impl Iterator<Item = String>) -> anyhow::Result<PathBuf> {
    let file = folder.join(format!("{name}.lines"));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.push('\n');
    std::fs::write(&file, text)?;
    Ok(file)
}

/// The event with this number, as the API would produce it; `tag` is its request id.
pub(crate) fn event(number: usize, devices: usize, tag: &str) -> anyhow::Result<Outgoing> {
    event_of(number % devices, number, tag)
}

/// The same for a given device.
pub(crate) fn event_of(device: usize, number: usize, tag: &str) -> anyhow::Result<Outgoing> {
    let (envelope, event) = parts(device, number, tag)?;
    Ok(Outgoing { envelope, source: Event::source(&event.device_id) })
}

fn parts(of: usize, number: usize, tag: &str) -> anyhow::Result<(Envelope, Event)> {
    let payload = Payload::check(Bytes::from(payload(number, 100)), "").ok().context("the payload is good")?;
    let event = Event { device_id: device(of).parse()?, event_type: EventType::DeviceReported, payload };
    let envelope = Envelope {
        request_id: Some(tag.to_owned()),
        user_id: Some("bench".to_owned()),
        ..event.envelope(format!("{tag}-{number}").parse()?, OffsetDateTime::now_utc())
    };
    Ok((envelope, event))
}

/// The event with this number as the worker decodes it, at that offset of a partition.
pub(crate) fn decoded(number: usize, devices: usize, partition: i32, tag: &str) -> anyhow::Result<DeviceDelivery> {
    let (envelope, event) = parts(number % devices, number, tag)?;
    // Later than all before: those of an earlier turn are the states of the devices.
    static OFFSET: AtomicI64 = AtomicI64::new(0);
    let offset = OFFSET.fetch_add(1, Ordering::Relaxed);
    let position = Position::new("bench", partition, offset, envelope.accepted_at);
    Ok(DeviceDelivery { envelope, position, event })
}

pub(crate) struct Ready {
    key: String,
    value: Bytes,
    headers: OwnedHeaders,
}

impl Ready {
    pub(crate) fn of(event: &Outgoing) -> Self {
        let headers = kafka::headers(event);
        let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
            all.insert(Header { key, value: Some(value.as_str()) })
        });
        Self { key: event.envelope.key.to_string(), value: event.envelope.data.clone(), headers }
    }

    /// The record for a producer with futures.
    pub(crate) fn to<'a>(&'a self, topic: &'a str) -> FutureRecord<'a, String, [u8]> {
        FutureRecord::to(topic).key(&self.key).payload(&self.value[..]).headers(self.headers.clone())
    }

    /// A row of the outbox, with the headers that the relay writes, except for the key.
    pub(crate) fn of_outbox(row: &OutboxRow) -> Self {
        let sequence = format!("{:020}", row.sequence);
        let columns = [
            (header::SPEC_VERSION, "1.0"),
            (header::TYPE, &row.event_type),
            (header::ID, &row.event_id),
            (header::SEQUENCE, &sequence),
            (header::CONTENT_TYPE, "application/json"),
        ];
        let mut headers = OwnedHeaders::new_with_capacity(columns.len() + row.attributes.len());
        for (key, value) in columns {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        for (name, value) in &row.attributes {
            let key = [header::ATTRIBUTE, name].concat();
            headers = headers.insert(Header { key: &key, value: Some(value) });
        }
        Self { key: row.aggregate.clone(), value: Bytes::from(row.data.clone()), headers }
    }
}

#[derive(Default)]
pub(crate) struct Counter {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Counter {}

impl ProducerContext for Counter {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The producer's linger in milliseconds that the API had by default when its ratios to these ceilings were first
/// published. They keep it, so that ratios can be compared; `KAFKA_LINGER` changes it for the API and the ceilings.
const LINGER: &str = "5";

/// The API's settings of its producer.
pub(crate) fn settings(brokers: &str) -> anyhow::Result<ClientConfig> {
    // Required settings that are not used here.
    let others = ["--database-url", "postgres://unused", "--redis-url", "redis://unused"];
    let settings = ["api-service", "--kafka-brokers", brokers].into_iter().chain(others);
    let config = api_service::config::Config::try_parse_from(settings)?;
    let mut client = api_service::ingest::producer::settings(&config.backbone.kafka, &config.backbone.producer)?;
    if std::env::var_os("KAFKA_LINGER").is_none() {
        client.set("linger.ms", LINGER);
    }
    Ok(client)
}

/// A bare librdkafka producer, with the API's settings.
pub(crate) struct Bare {
    producer: BaseProducer<Counter>,
    topic: String,
}

impl Bare {
    pub(crate) fn new(site: &Site<'_>) -> anyhow::Result<Self> {
        Self::to(site, &site.scope.input_topic)
    }

    /// A producer to another topic.
    pub(crate) fn to(site: &Site<'_>, topic: &str) -> anyhow::Result<Self> {
        let producer = settings(&site.scope.endpoints.kafka_brokers)?.create_with_context(Counter::default())?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    pub(crate) fn send(&self, record: &Ready, partition: Option<i32>) -> anyhow::Result<()> {
        let mut next =
            BaseRecord::to(&self.topic).key(&record.key).payload(&record.value[..]).headers(record.headers.clone());
        next.partition = partition;
        loop {
            next = match self.producer.send(next) {
                Ok(()) => break,
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    self.producer.poll(Duration::from_millis(1));
                    back
                }
                Err((error, _)) => return Err(error.into()),
            };
        }
        Ok(())
    }

    pub(crate) fn settle(&self) -> anyhow::Result<u64> {
        // In steps, because `flush` may wait for a tenth of a second after the last report.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.producer.flush(Duration::from_millis(1)) {
            anyhow::ensure!(Instant::now() < deadline, error);
        }
        let counter = self.producer.context();
        anyhow::ensure!(counter.failed.load(Ordering::Relaxed) == 0, "records were not acknowledged");
        Ok(counter.delivered.load(Ordering::Relaxed))
    }

    /// Sends these records in rotation for this time; returns the records acknowledged per second.
    pub(crate) fn saturate(&self, records: &[Ready], time: Duration) -> anyhow::Result<f64> {
        let before = self.settle()?;
        let began = Instant::now();
        let mut records = records.iter().cycle();
        while began.elapsed() < time {
            // Check the clock only once per batch's worth of records.
            for record in records.by_ref().take(1_000) {
                self.send(record, None)?;
            }
            self.producer.poll(Duration::ZERO);
        }
        let sent = self.settle()? - before;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Ok(sent as f64 / began.elapsed().as_secs_f64())
    }

    /// Sends each event once, to this partition or else to its device's.
    pub(crate) fn fill(
        &self,
        events: impl Iterator<Item = anyhow::Result<Outgoing>>,
        partition: Option<i32>,
    ) -> anyhow::Result<()> {
        for (number, event) in events.enumerate() {
            self.send(&Ready::of(&event?), partition)?;
            if number % 1_000 == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.settle().map(drop)
    }
}
