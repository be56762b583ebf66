//! `erase`: erases a device.

use anyhow::Context;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use shared::cache::{Cache, StoresConfig};
use shared::devices::queries::{self, TopicEnd};
use shared::devices::{DeviceId, DeviceTopics, RESOURCE};
use shared::kafka::{self, ADMIN_TIMEOUT, KafkaConfig, LogContext, PlainConsumer};
use shared::runtime::rfc3339;
use shared::store::Store;

use crate::consumer::registry::{OperatorCommand, Out};

impl OperatorCommand for EraseConfig {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>> {
        erase(self, out).boxed()
    }
}

/// Erases a device's rows, leaves its tombstone, and then deletes its cache entry. The order matters: until the
/// transaction commits, a reader could cache the entry again. An error says what is erased and what is not.
async fn erase(config: &EraseConfig, out: Out<'_>) -> anyhow::Result<()> {
    let store = Store::open(&config.stores.postgres, "worker-service erase")?;
    let cache = Cache::open(&config.stores.redis, &[&RESOURCE])?;
    store.check().await.context("nothing was erased: PostgreSQL is not ready")?;
    cache.is_there().await.context("nothing was erased: Redis does not answer")?;
    let (client, topic) = (kafka::client(&config.kafka)?, config.topics.input.clone());
    let end = tokio::task::spawn_blocking(move || end(&client, topic))
        .await
        .map_err(shared::runtime::lifecycle::no_result)?;
    let end = end.context("nothing was erased: cannot read the topic's end from Kafka")?;
    let gone = queries::erase(&store, &config.device, end.as_ref()).await.context("nothing was erased")?;
    // Printed last: a closed output must not stop the erasure.
    let uncached = cache.erase(&config.device.cache_key()).await.with_context(|| {
        format!("the rows are erased, but Redis keeps its entry until its TTL of {:?} ends", config.stores.redis.ttl)
    });
    let version = gone.version.map_or_else(|| "no resource".to_owned(), |version| format!("version {version}"));
    let (device, events, at) = (&config.device, gone.events, rfc3339::format(gone.at));
    let told = writeln!(out, "erased {device}: {events} events, {version}; events accepted up to {at} have no effect")
        .and_then(|()| out.flush());
    uncached?;
    told.context("the device is erased, but the result could not be printed")?;
    store.close().await;
    Ok(())
}

/// The topic's end, including records of open transactions; `None` if the topic does not exist.
fn end(client: &ClientConfig, topic: String) -> anyhow::Result<Option<TopicEnd>> {
    let mut client = client.clone();
    // With `read_committed`, Kafka returns the last stable offset; the records after it came before this call, too.
    client.set("isolation.level", "read_uncommitted");
    let consumer: PlainConsumer = client.create_with_context(LogContext).context("cannot create a Kafka client")?;
    let metadata = consumer.fetch_metadata(Some(&topic), ADMIN_TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let partitions = found.map_or(0, |found| found.partitions().len());
    if partitions == 0 {
        return Ok(None);
    }
    let mut offsets = Vec::with_capacity(partitions);
    for partition in 0..i32::try_from(partitions)? {
        offsets.push(consumer.fetch_watermarks(&topic, partition, ADMIN_TIMEOUT)?.1);
    }
    Ok(Some(TopicEnd { topic, offsets }))
}

/// Settings of `erase`.
#[derive(Debug, Clone, clap::Args)]
pub struct EraseConfig {
    /// The device.
    #[arg(value_name = "DEVICE")]
    pub device: DeviceId,
    /// Kafka, which says where the topic ends.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub topics: DeviceTopics,
    #[command(flatten)]
    pub stores: StoresConfig,
}
