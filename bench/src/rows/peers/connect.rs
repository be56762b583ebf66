//! Kafka Connect with Debezium's JDBC sink (`bench/peers/connect`), one process. It runs for the whole row, so that its
//! code is compiled, and stands still while others have their turn.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use devstack::{Process, asked, committed, foreground, port};
use serde_json::Value;

use super::install::{Installed, sources};
use crate::bed::Site;
use crate::report::as_f64;
use crate::usage::Meter;

const TIMEOUT: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_millis(25);
const CLASS: &str = "org.apache.kafka.connect.cli.ConnectStandalone";
/// Those of Kafka's own script for it.
const JVM: [&str; 7] = [
    "-Xms256M",
    "-Xmx2G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// The columns that the sink does not write, and what lets it write text into those that are no text: it binds every
/// column by the type of its field.
const TABLE: &str = "
    CREATE TABLE sink (LIKE resources INCLUDING ALL);
    ALTER TABLE sink ALTER version SET DEFAULT 1, ALTER updated_at SET DEFAULT now();
    CREATE CAST (text AS jsonb) WITH INOUT AS ASSIGNMENT;
    CREATE CAST (text AS timestamptz) WITH INOUT AS ASSIGNMENT";

pub(super) struct Connect<'a> {
    process: Process,
    site: &'a Site<'a>,
    topic: String,
    /// Of its REST interface.
    url: String,
}

impl<'a> Connect<'a> {
    /// Starts it, standing still, with a table of its own in the database of this site.
    pub(super) fn start(installed: &Installed, site: &'a Site<'a>, topic: &str) -> anyhow::Result<Self> {
        site.sql(TABLE)?;
        let folder = site.bed.folder.join("peers/connect");
        let rest = format!("http://127.0.0.1:{}", port::free());
        let offsets = folder.join("offsets");
        let (_, database) = site.scope.database_url.split_once('@').context("a database without a user")?;
        let worker = [
            ("bootstrap.servers", site.scope.endpoints.kafka_brokers.clone()),
            ("listeners", rest.clone()),
            ("offset.storage.file.filename", offsets.display().to_string()),
        ];
        let sink = [
            ("topics", topic.to_owned()),
            ("connection.url", format!("jdbc:postgresql://{database}")),
            ("connection.username", "postgres".to_owned()),
            ("connection.password", "none".to_owned()),
        ];
        let log = folder.join("connect.log");
        let mut args: Vec<OsString> = JVM.map(OsString::from).into();
        args.push(
            format!("-Dlog4j2.configurationFile={}", sources("connect").join("log4j2.properties").display()).into(),
        );
        args.push(format!("-Dpeer.log={}", log.display()).into());
        args.extend(["-cp".into(), installed.jars.join("*").into_os_string(), CLASS.into()]);
        args.push(properties(&folder, "worker.properties", &worker)?.into());
        args.push(properties(&folder, "sink.properties", &sink)?.into());
        let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java").into_os_string());
        let process = foreground(&home.unwrap_or_else(|| "java".into()), &args, &[])?;
        let connect = Self { process, site, topic: topic.to_owned(), url: rest };
        connect.until("RUNNING").with_context(|| format!("see {}", log.display()))?;
        connect.stand_still()?;
        Ok(connect)
    }

    pub(super) fn meter(&self) -> Meter {
        Meter::start("connect", self.process.pid())
    }

    pub(super) fn stand_still(&self) -> anyhow::Result<()> {
        self.ask("pause")?;
        self.until("PAUSED")
    }

    /// Lets it drain the topic, whose events have these numbers and this tag; returns its rate, from its first commit
    /// to its last.
    pub(super) fn drain(&self, events: usize, devices: usize, tag: &str) -> anyhow::Result<f64> {
        self.site.sql("CHECKPOINT")?;
        self.ask("resume")?;
        let of_tag = format!(
            "SELECT count(*), coalesce(extract(epoch FROM max(pg_xact_commit_timestamp(xmin))), 0) FROM sink
             WHERE event_id LIKE '{tag}-%'"
        );
        // The table has the last state of each device only: what the first commits brought is seen now or never.
        let began = || Ok(Some(self.site.numbers::<2>(&of_tag)?).filter(|[rows, _]| *rows > 0.0));
        let [first, from] = asked(TIMEOUT, STEP, began)?.context("the sink writes nothing")?;
        ensure!(first < as_f64(devices), "the sink's beginning was missed");
        self.until_caught_up()?;
        let [_, until] = self.site.numbers(&of_tag)?;
        let [last] = self.site.numbers(&format!(
            "SELECT count(*) FROM sink WHERE event_id LIKE '{tag}-%'
               AND split_part(event_id, '-', 2)::int >= {}",
            events.saturating_sub(devices)
        ))?;
        ensure!(last == as_f64(devices.min(events)), "the sink has the last state of {last} devices, not of {devices}");
        Ok((as_f64(events) - first) / (until - from))
    }

    fn until_caught_up(&self) -> anyhow::Result<()> {
        let caught_up = || {
            self.states()?;
            let brokers = &self.site.scope.endpoints.kafka_brokers;
            let offsets = committed(brokers, &self.topic, "connect-sink")?;
            Ok(offsets.values().all(|(at, end)| at >= end).then_some(()))
        };
        asked(TIMEOUT, 20 * STEP, caught_up)?.context("the sink is not caught up")
    }

    fn ask(&self, what: &str) -> anyhow::Result<()> {
        let request = reqwest::Client::new().put(format!("{}/connectors/sink/{what}", self.url));
        self.site.bed.runtime.block_on(async { request.send().await?.error_for_status() })?;
        Ok(())
    }

    fn until(&self, state: &str) -> anyhow::Result<()> {
        let is_so = || {
            ensure!(self.process.ended()?.is_none(), "Kafka Connect has ended");
            let states = self.states()?;
            Ok((states.len() > 1 && states.iter().all(|found| found == state)).then_some(()))
        };
        asked(TIMEOUT, 4 * STEP, is_so)?.with_context(|| format!("the sink is not {state}"))
    }

    /// The states of the connector and its tasks; none while there is no answer. An error if one has failed.
    fn states(&self) -> anyhow::Result<Vec<String>> {
        let url = format!("{}/connectors/sink/status", self.url);
        let status: Option<Value> = self
            .site
            .bed
            .runtime
            .block_on(async { reqwest::get(url).await.ok()?.error_for_status().ok()?.json().await.ok() });
        let status = status.unwrap_or_default();
        let tasks = status.get("tasks").and_then(Value::as_array).into_iter().flatten();
        let mut states = Vec::new();
        for part in status.get("connector").into_iter().chain(tasks) {
            let text = |name| part.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("state") == "FAILED" {
                bail!("the sink has failed: {}", text("trace"));
            }
            states.push(text("state").to_owned());
        }
        Ok(states)
    }
}

/// Writes the settings of the repository's file with this name and these more; returns the file.
fn properties(folder: &Path, name: &str, more: &[(&str, String)]) -> anyhow::Result<PathBuf> {
    let mut text = fs::read_to_string(sources("connect").join(name))?;
    text.extend(more.iter().map(|(name, value)| format!("{name}={value}\n")));
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
