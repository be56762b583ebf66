//! The commands other than `run`. Their results go to standard output, their log to standard error.

mod events;

use std::io::{self, Write};

use anyhow::Context;
use shared::kafka::{self, TopicConfig};
use shared::runtime::telemetry;
use shared::store::Store;

use crate::config::{DlqCommand, DomainCommand, OfHandler, OfNamed, ResumeConfig, SetupConfig};
use crate::consumer::registry::Registry;
use crate::consumer::seek::{self, SeekConfig};
use crate::{dead_letters, domains};

/// Migrates the schema, and creates the topics of every stream. Changes nothing if an existing topic has wrong
/// settings.
pub async fn setup(config: &SetupConfig) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let client = kafka::client(&config.kafka)?;
    let streams: &[TopicConfig] = if config.skip_topics { &[] } else { &config.streams.0 };
    for topics in streams {
        kafka::topics::setup::check_present(&client, topics, &config.shape).await?;
    }
    let store = Store::open(&config.postgres, "worker-service setup")?;
    let Registry { indexes, distributed, topics_made, .. } = domains::registry();
    store.migrate(&indexes).await?;
    tracing::info!("the schema is up to date");
    if config.distribute {
        store.distribute(&distributed).await?;
        tracing::info!("the tables are distributed");
    }
    for topics in streams {
        let made = kafka::topics::setup::make(&client, topics, &config.shape).await?;
        // The offsets of a new topic start at 0 again.
        for hook in &topics_made {
            hook(&store, &made).await?;
        }
        kafka::topics::setup::check(&client, topics, &config.shape).await?;
    }
    store.close().await;
    Ok(())
}

/// Resumes a group's paused partitions; the worker that owns one notices within seconds.
pub async fn resume(config: &ResumeConfig) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let store = Store::open(&config.postgres, "worker-service resume")?;
    let group = &config.group.0;
    let resumed = store.resume(group, config.partition).await?;
    store.close().await;
    let mut said: String = resumed
        .iter()
        .map(|(topic, partition)| format!("resumed {topic} [{partition}] of the group {group}\n"))
        .collect();
    if resumed.is_empty() {
        said = format!("no partition of the group {group} was paused\n");
    }
    let out = &mut Output(io::stdout());
    out.write_all(said.as_bytes())
        .and_then(|()| out.flush())
        .context("they are resumed, but the result could not be printed")
}

/// The output of a command that has effects: a closed pipe does not stop the command, and is not an error.
struct Output<W>(W);

impl<W: Write> Write for Output<W> {
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

/// Prints docs/events.md.
pub fn events() -> anyhow::Result<()> {
    let out = &mut Output(io::stdout());
    out.write_all(events::page(&domains::registry()).as_bytes()).and_then(|()| out.flush()).context("cannot print it")
}

/// Lists, shows, redrives or purges dead letters.
pub async fn dlq(command: &DlqCommand) -> anyhow::Result<()> {
    let out = &mut io::stdout();
    match command {
        DlqCommand::List(OfNamed { command, sources }) => {
            telemetry::start_log_aside(&command.log)?;
            dead_letters::list::run(command, &sources.0, out).await
        }
        DlqCommand::Show(OfHandler { command, source }) => {
            telemetry::start_log_aside(&command.log)?;
            dead_letters::show::run(command, &source.0, out).await
        }
        DlqCommand::Redrive(redrive) => {
            let OfHandler { command, source } = &**redrive;
            telemetry::start_log_aside(&command.log)?;
            let kinds = domains::registry().kinds;
            let failed = dead_letters::redrive::run(command, &source.0, &kinds, &mut Output(out)).await?.failed;
            anyhow::ensure!(failed == 0, "{failed} dead letters were not sent; run the same command again");
            Ok(())
        }
        DlqCommand::Purge(OfHandler { command, source }) => {
            telemetry::start_log_aside(&command.log)?;
            dead_letters::purge::run(command, &source.0, &mut Output(out)).await.map(drop)
        }
    }
}

/// Rewinds a group.
pub async fn seek(OfHandler { command, source }: &OfHandler<SeekConfig>) -> anyhow::Result<()> {
    telemetry::start_log_aside(&command.log)?;
    let Registry { kinds, after_restore, .. } = domains::registry();
    seek::run(command, &source.0, &kinds, &after_restore, &mut Output(io::stdout())).await.map(drop)
}

/// Runs a command of a domain.
pub async fn of_domain(config: &DomainCommand) -> anyhow::Result<()> {
    telemetry::start_log_aside(&config.log)?;
    config.command.run(&mut Output(io::stdout())).await
}
