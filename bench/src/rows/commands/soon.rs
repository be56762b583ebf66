//! How soon an event is in the topic after its command has committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use shared::ads::published::CAMPAIGN_CREATED;
use shared::kafka::ids::EventId;
use shared::kafka::{Cause, header};
use shared::store::outbox::doorbell::Doorbell;
use shared::store::outbox::{Boundary, Outbound, publish};
use shared::store::{Failure, Store, Tx, Work};
use time::OffsetDateTime;

use super::{RELAY, at_rate, store};
use crate::Scale;
use crate::bed::{self, Site};
use crate::load::{Latency, long_enough};
use crate::report::{Bound, Figure};
use crate::rounds::Series;

/// Commands a second.
const RATE: u32 = 200;
const AGGREGATES: usize = 50;
const TIMEOUT: Duration = Duration::from_secs(10);

/// When each event was committed, or seen in the topic.
type Times = HashMap<String, Instant>;

pub(super) fn measure(site: &Site<'_>, scale: &Scale) -> anyhow::Result<Figure> {
    let worker = site.worker(&[RELAY])?;
    let store = store(site)?;
    let stop = AtomicBool::new(false);
    let time = long_enough(3 * scale.turn(), RATE);
    let (brokers, topic) = (site.scope.endpoints.kafka_brokers.clone(), site.scope.domain_topic.clone());
    let (committed, seen) = std::thread::scope(|threads| {
        let watching = threads.spawn(|| watch(&brokers, &topic, &stop));
        let committed = site.bed.runtime.block_on(async {
            // Connections are opened, and the relay holds its lease.
            commands(&store, Duration::from_secs(15)).await?;
            let committed = commands(&store, time).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            committed
        });
        stop.store(true, Ordering::Relaxed);
        (committed, watching.join())
    });
    let (committed, seen) = (committed?, seen.map_err(|_| anyhow::anyhow!("the reader panicked"))??);
    bed::end(&worker)?;
    site.bed.runtime.block_on(store.close());
    let took = committed.iter().map(|(id, at)| {
        let seen = seen.get(id).with_context(|| format!("the event {id} is not in the topic"))?;
        Ok(seen.saturating_duration_since(*at))
    });
    let took = Latency::of(took.collect::<anyhow::Result<_>>()?);
    Ok(Figure {
        bound: Some(Bound::Below(80.0)),
        latencies: vec![(format!("a command's commit to a reader of the topic, at {RATE}/s"), took)],
        ..Figure::new("commit to topic, p99", "ms", Series::once(took.p99))
    })
}

/// A command that publishes one event.
struct Command {
    aggregate: String,
    id: EventId,
}

impl Work for Command {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let mut boundary = Boundary::lock(tx, &self.aggregate).await?;
        let event = Outbound {
            schema: &CAMPAIGN_CREATED,
            aggregate: Arc::clone(boundary.aggregate()),
            sequence: boundary.next_number(),
            id: self.id.clone(),
            source: "/bench",
            subject: self.aggregate.clone(),
            at: OffsetDateTime::now_utc(),
            cause: Cause::default(),
            data: r#"{"campaignId":1,"name":"bench","status":"active","revision":1}"#.to_owned(),
        };
        publish(tx, vec![boundary], &[event]).await
    }
}

/// Runs commands at the rate for this time; returns when each was committed.
async fn commands(store: &Store, time: Duration) -> anyhow::Result<Times> {
    let doorbell = Doorbell::new(store.clone());
    let rings = doorbell.clone();
    let ringing = tokio::spawn(async move { rings.run().await });
    let committed = at_rate(RATE, time, |number| {
        let command = Command { aggregate: format!("soon-{}", number % AGGREGATES), id: EventId::generate() };
        let (store, doorbell) = (store.clone(), doorbell.clone());
        async move {
            store.transact("", &command).await?;
            let committed = Instant::now();
            doorbell.ring();
            Ok((command.id.to_string(), committed))
        }
    });
    let committed = committed.await?;
    ringing.abort();
    Ok(committed.into_iter().collect())
}

/// Reads the topic from its end on, as a consumer does, until it is told to stop.
fn watch(brokers: &str, topic: &str, stop: &AtomicBool) -> anyhow::Result<Times> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().first().context("no topic")?;
    ensure!(!found.partitions().is_empty(), "the topic {topic} does not exist");
    let mut ends = TopicPartitionList::new();
    for partition in found.partitions() {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
        ends.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
    }
    consumer.assign(&ends)?;
    let mut seen = Times::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let (record, at) = (record?, Instant::now());
        let id = record.headers().and_then(|headers| headers.iter().find(|found| found.key == header::ID)?.value);
        seen.insert(String::from_utf8_lossy(id.context("a record without an id")?).into_owned(), at);
    }
    Ok(seen)
}
