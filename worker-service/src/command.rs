//! The commands beside `run`: the small ones, and how the others are started. What these say is
//! their standard output; their log goes to standard error.

use shared::store::Store;
use shared::{kafka, telemetry, topic};

use crate::config::{DlqCommand, ForgetConfig, ResumeConfig, SeekConfig, SetupConfig};
use crate::dlq;

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
        let made = topic::setup::make(&client, &config.topics, &config.shape).await?;
        // Their offsets begin at 0 again.
        store.forget_ends(&made).await?;
        topic::setup::check(&client, &config.topics, &config.shape).await?;
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

/// Looks at dead letters, or sends them back.
///
/// # Errors
/// Those of the command, and letters that should have been sent and were not.
pub async fn dlq(command: &DlqCommand) -> anyhow::Result<()> {
    let out = &mut std::io::stdout();
    match command {
        DlqCommand::List(config) => {
            telemetry::start_log_aside(&config.log)?;
            dlq::list::run(config, out).await
        }
        DlqCommand::Show(config) => {
            telemetry::start_log_aside(&config.log)?;
            dlq::show::run(config, out).await
        }
        DlqCommand::Redrive(config) => {
            telemetry::start_log_aside(&config.log)?;
            let failed = dlq::redrive::run(config, out).await?.failed;
            anyhow::ensure!(failed == 0, "{failed} letters were not sent; run the same command again");
            Ok(())
        }
    }
}

/// Rewinds the group.
///
/// # Errors
/// Those of [`crate::seek::run`].
pub async fn seek(config: &SeekConfig) -> anyhow::Result<()> {
    telemetry::start_log_aside(&config.log)?;
    crate::seek::run(config, &mut std::io::stdout()).await.map(drop)
}

/// Erases a device.
///
/// # Errors
/// Those of [`crate::forget::run`].
pub async fn forget(config: &ForgetConfig) -> anyhow::Result<()> {
    telemetry::start_log_aside(&config.log)?;
    crate::forget::run(config, &mut std::io::stdout()).await
}
