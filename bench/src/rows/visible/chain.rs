//! The least that could make an event durable and visible: produce, consume, one insert, one SET. No HTTP, no checks, no
//! repeats, no versions, no groups and no offsets. All records of a partition that have arrived are inserted and set together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::producer::FutureProducer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use redis::aio::ConnectionManager;
use shared::kafka::header;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::{DEVICES, FOLLOWED, PROBED, RATE, follow_each, until_shown};
use crate::bed::Site;
use crate::records::{self, Ready};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most events of an insert.
const BATCH: usize = 1_000;
const TABLE: &str = "CREATE TABLE chain (
    device_id text NOT NULL, event_id text NOT NULL, payload jsonb NOT NULL, PRIMARY KEY (device_id, event_id))";
const INSERT: &str = "INSERT INTO chain (device_id, event_id, payload)
    SELECT device_id, event_id, payload::jsonb FROM unnest($1::text[], $2::text[], $3::text[])
      AS new (device_id, event_id, payload)";

#[derive(Debug)]
struct Record {
    device: String,
    id: String,
    payload: String,
}

pub(super) struct Chain {
    producer: FutureProducer,
    topic: String,
    prefix: String,
    redis: ConnectionManager,
    stop: Arc<AtomicBool>,
    consuming: JoinHandle<anyhow::Result<()>>,
}

impl Chain {
    /// On the topic, the database and the keys of this site.
    pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Self> {
        site.sql(TABLE)?;
        let (runtime, scope) = (&site.bed.runtime, &site.scope);
        let redis = runtime.block_on(ConnectionManager::new(redis::Client::open(site.bed.stack.redis.url())?))?;
        let writer = Writer {
            pool: runtime.block_on(PgPoolOptions::new().max_connections(10).connect(&scope.database_url))?,
            redis: redis.clone(),
            prefix: scope.cache_prefix.clone(),
        };
        let consumer = consumer(&scope.endpoints.kafka_brokers, &scope.input_topic)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (handle, stopped) = (runtime.handle().clone(), Arc::clone(&stop));
        Ok(Self {
            producer: records::settings(&scope.endpoints.kafka_brokers)?.create()?,
            topic: scope.input_topic.clone(),
            prefix: scope.cache_prefix.clone(),
            redis,
            stop,
            consuming: std::thread::spawn(move || consume(&consumer, &handle, &writer, &stopped)),
        })
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.consuming.join().map_err(|_| anyhow!("the chain panicked"))?
    }

    /// How long each followed event took from its acknowledgement until Redis shows it, beside as many others as ours has.
    pub(super) async fn measure(&self, time: Duration) -> anyhow::Result<Vec<Duration>> {
        let others = async {
            let (mut every, mut sent) =
                (tokio::time::interval(Duration::from_secs(1) / (RATE - FOLLOWED)), JoinSet::new());
            let began = Instant::now();
            for number in 0.. {
                if began.elapsed() >= time {
                    break;
                }
                every.tick().await;
                let record = Ready::of(&records::event(number, DEVICES, &unique())?);
                let (producer, topic) = (self.producer.clone(), self.topic.clone());
                sent.spawn(async move { send(&producer, &topic, &record).await });
            }
            while let Some(sent) = sent.join_next().await {
                sent??;
            }
            anyhow::Ok(())
        };
        let followed = follow_each(time, |number| {
            let (producer, topic, redis) = (self.producer.clone(), self.topic.clone(), self.redis.clone());
            let key = format!("{}{}", self.prefix, records::device(DEVICES + number % PROBED));
            async move {
                let event = records::event_of(DEVICES + number % PROBED, number, &unique())?;
                send(&producer, &topic, &Ready::of(&event)).await?;
                let get = || async {
                    let found: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut redis.clone()).await?;
                    Ok(found.unwrap_or_default())
                };
                until_shown(&shown(event.envelope.id.as_str()), get).await
            }
        });
        let (others, followed) = tokio::join!(others, followed);
        others.and(followed)
    }
}

/// A tag that no other event has.
fn unique() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn shown(id: &str) -> String {
    format!(r#""event_id":"{id}""#)
}

async fn send(producer: &FutureProducer, topic: &str, record: &Ready) -> anyhow::Result<()> {
    producer.send(record.to(topic), Duration::ZERO).await.map_err(|(error, _)| error)?;
    Ok(())
}

/// A consumer of all partitions from their ends on.
fn consumer(brokers: &str, topic: &str) -> anyhow::Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
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
    Ok(consumer)
}

/// Consumes until `stop` is set or a partition fails.
fn consume(consumer: &BaseConsumer, runtime: &Handle, writer: &Writer, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut partitions: HashMap<i32, UnboundedSender<Record>> = HashMap::new();
    let mut writing = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(next) = consumer.poll(Duration::from_millis(100)) else { continue };
        let next = next?;
        let partition = partitions.entry(next.partition()).or_insert_with(|| {
            let (to, records) = unbounded_channel();
            let written = writer.clone().write(records);
            let told = |error: &anyhow::Error| eprintln!("bench: the chain: {error:#}");
            writing.spawn_on(async move { written.await.inspect_err(told) }, runtime);
            to
        });
        if partition.send(record(&next)?).is_err() {
            break;
        }
    }
    partitions.clear();
    runtime.block_on(async {
        while let Some(written) = writing.join_next().await {
            written??;
        }
        writer.pool.close().await;
        Ok(())
    })
}

fn record(read: &BorrowedMessage<'_>) -> anyhow::Result<Record> {
    let id = read.headers().and_then(|headers| headers.iter().find(|found| found.key == header::ID)?.value);
    let text = |bytes: Option<&[u8]>| Ok::<_, anyhow::Error>(String::from_utf8(bytes.context("no value")?.to_vec())?);
    Ok(Record { device: text(read.key())?, id: text(id)?, payload: text(read.payload())? })
}

#[derive(Clone)]
struct Writer {
    pool: PgPool,
    redis: ConnectionManager,
    prefix: String,
}

impl Writer {
    /// Writes what has come of a partition, again and again.
    async fn write(mut self, mut records: UnboundedReceiver<Record>) -> anyhow::Result<()> {
        let mut batch = Vec::new();
        while records.recv_many(&mut batch, BATCH).await > 0 {
            let column = |of: fn(&Record) -> &str| batch.iter().map(of).collect::<Vec<_>>();
            sqlx::query(INSERT)
                .bind(column(|record| &record.device))
                .bind(column(|record| &record.id))
                .bind(column(|record| &record.payload))
                .execute(&self.pool)
                .await?;
            let mut sets = redis::pipe();
            for Record { device, id, payload } in batch.drain(..) {
                let body = format!(r#"{{{},"payload":{payload}}}"#, shown(&id));
                sets.cmd("SET").arg(format!("{}{device}", self.prefix)).arg(body).ignore();
            }
            let () = sets.query_async(&mut self.redis).await?;
        }
        Ok(())
    }
}
