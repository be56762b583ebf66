//! Faults through Kafka's own protocol.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shared::kafka::topics::setup::MAX_DEAD_LETTER_BYTES;

use crate::history::History;
use crate::load::{DEVICES, lock};
use crate::world::World;

/// How many records that are not events each fault writes.
pub const POISON: usize = 5;
/// The number of partitions after some were added.
const MORE_PARTITIONS: usize = 9;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes records that are not events, as another client could.
pub(super) fn poison(world: &World, history: &Arc<Mutex<History>>, choice: usize) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.scope.endpoints.kafka_brokers)
        .set("enable.idempotence", "true")
        .create()?;
    for n in 0..POISON {
        let mut history = lock(history);
        let value = format!("poison {}", history.poison.len());
        let key = format!("device-{}", (choice + n) % DEVICES);
        producer
            .send(BaseRecord::to(&world.scope.input_topic).key(&key).payload(&value))
            .map_err(|(error, _)| error)?;
        history.poison.insert(value);
    }
    // Another fault may stop Kafka meanwhile, and a busy machine restarts it slowly.
    producer.flush(Duration::from_secs(240)).context("poison")
}

pub(super) fn add_partitions(world: &World) -> anyhow::Result<()> {
    let more = [NewPartitions::new(&world.scope.input_topic, MORE_PARTITIONS)];
    let runtime = tokio::runtime::Handle::current();
    for result in runtime.block_on(admin(world)?.create_partitions(&more, &options()))? {
        match result {
            // `InvalidPartitions`: an earlier attempt succeeded, but its answer was lost.
            Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::InvalidPartitions)) => {}
            Err((topic, code)) => anyhow::bail!("{topic}: {code}"),
        }
    }
    Ok(())
}

/// Makes the dead-letter topic refuse all letters, or accept them again, through its maximum message size.
pub(super) fn take_letters(world: &World, take: bool) -> anyhow::Result<()> {
    let bytes = if take { MAX_DEAD_LETTER_BYTES } else { 1 }.to_string();
    // This call replaces all settings of the topic, so it repeats the ones that do not change.
    let config = AlterConfig::new(ResourceSpecifier::Topic(&world.scope.dlq_topic))
        .set("max.message.bytes", &bytes)
        .set("message.timestamp.type", "LogAppendTime")
        .set("compression.type", "uncompressed")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1");
    let runtime = tokio::runtime::Handle::current();
    for result in runtime.block_on(admin(world)?.alter_configs(&[config], &options()))? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic:?}: {code}"))?;
    }
    Ok(())
}

fn admin(world: &World) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", &world.scope.endpoints.kafka_brokers).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT))
}
