//! The commands beside `run`.

use shared::store::Store;
use shared::{kafka, telemetry, topic};

use crate::config::{ResumeConfig, SetupConfig};

/// Migrates, and makes the topics.
///
/// # Errors
/// PostgreSQL or Kafka away, or unwilling.
pub async fn setup(config: &SetupConfig) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let client = kafka::client(&config.kafka)?;
    let store = Store::open(&config.postgres, "worker-service setup")?;
    store.migrate().await?;
    tracing::info!("the schema is up to date");
    if !config.skip_topics {
        topic::setup::create(&client, &config.topics, &config.shape).await?;
    }
    store.close().await;
    Ok(())
}

/// Lets paused partitions go on; the worker that owns one notices within seconds.
///
/// # Errors
/// PostgreSQL away.
pub async fn resume(config: &ResumeConfig) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let store = Store::open(&config.postgres, "worker-service resume")?;
    let resumed = store.resume(&config.group.group, config.partition).await?;
    for (topic, partition) in &resumed {
        println!("resumed {topic} [{partition}]");
    }
    if resumed.is_empty() {
        println!("no partition of the group {} was paused", config.group.group);
    }
    store.close().await;
    Ok(())
}
