//! The commands beside `run`: the small ones, and how the others are started. What these say is
//! their standard output; their log goes to standard error.

use std::io::{self, Write};

use anyhow::Context;
use shared::devices::queries;
use shared::kafka;
use shared::runtime::telemetry;
use shared::store::Store;

use crate::config::{ResumeConfig, SetupConfig};
use crate::consumer::seek::SeekConfig;
use crate::dead_letters;
use crate::dead_letters::config::DlqCommand;
use crate::devices::forget::ForgetConfig;

/// Migrates, and makes the topics. Where a topic that is there has settings that are wrong, nothing is done.
pub async fn setup(config: &SetupConfig) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let client = kafka::client(&config.kafka)?;
    if !config.skip_topics {
        kafka::topics::setup::check_present(&client, &config.topics, &config.shape).await?;
    }
    let store = Store::open(&config.postgres, "worker-service setup")?;
    store.migrate().await?;
    tracing::info!("the schema is up to date");
    if !config.skip_topics {
        let made = kafka::topics::setup::make(&client, &config.topics, &config.shape).await?;
        // Their offsets begin at 0 again.
        queries::forget_ends(&store, &made).await?;
        kafka::topics::setup::check(&client, &config.topics, &config.shape).await?;
    }
    store.close().await;
    Ok(())
}

/// Lets paused partitions go on; the worker that owns one notices within seconds.
pub async fn resume(config: &ResumeConfig) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let store = Store::open(&config.postgres, "worker-service resume")?;
    let resumed = store.resume(&config.group.group, config.partition).await?;
    store.close().await;
    let mut said: String =
        resumed.iter().map(|(topic, partition)| format!("resumed {topic} [{partition}]\n")).collect();
    if resumed.is_empty() {
        said = format!("no partition of the group {} was paused\n", config.group.group);
    }
    let out = &mut Told(io::stdout());
    out.write_all(said.as_bytes()).and_then(|()| out.flush()).context("they are resumed, but that could not be told")
}

/// The output of a command that does more than to tell: a reader that is gone does not end it, and is no failure of
/// what it did.
struct Told<W>(W);

impl<W: Write> Write for Told<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Looks at dead letters, sends them back, or deletes them.
pub async fn dlq(command: &DlqCommand) -> anyhow::Result<()> {
    let out = &mut io::stdout();
    match command {
        DlqCommand::List(config) => {
            telemetry::start_log_aside(&config.log)?;
            dead_letters::list::run(config, out).await
        }
        DlqCommand::Show(config) => {
            telemetry::start_log_aside(&config.log)?;
            dead_letters::show::run(config, out).await
        }
        DlqCommand::Redrive(config) => {
            telemetry::start_log_aside(&config.log)?;
            let failed = dead_letters::redrive::run(config, &mut Told(out)).await?.failed;
            anyhow::ensure!(failed == 0, "{failed} letters were not sent; run the same command again");
            Ok(())
        }
        DlqCommand::Purge(config) => {
            telemetry::start_log_aside(&config.log)?;
            dead_letters::purge::run(config, &mut Told(out)).await.map(drop)
        }
    }
}

/// Rewinds the group.
pub async fn seek(config: &SeekConfig) -> anyhow::Result<()> {
    telemetry::start_log_aside(&config.log)?;
    crate::consumer::seek::run(config, &mut Told(io::stdout())).await.map(drop)
}

/// Erases a device.
///
/// # Errors
/// Those of [`crate::devices::forget::run`].
pub async fn forget(config: &ForgetConfig) -> anyhow::Result<()> {
    telemetry::start_log_aside(&config.log)?;
    crate::devices::forget::run(config, &mut Told(io::stdout())).await
}
