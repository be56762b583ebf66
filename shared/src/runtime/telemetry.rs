//! Logs, metrics and traces.
//!
//! A log line is a constant message plus fields. Never a payload, a token or a secret.

mod log_queue;
pub mod traces;

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use metrics::describe_counter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use self::log_queue::{Kind, LogQueue};
use crate::runtime::config::{LogConfig, LogFormat};
use crate::runtime::within::within;

/// Upper bounds of the buckets of every histogram of seconds: a cached read is at the one end, an event
/// that waited out an outage at the other.
const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
/// Those of every histogram of records.
const RECORDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Where the log of this process goes, once it is started.
static LOG: OnceLock<LogQueue> = OnceLock::new();

/// How long the last lines may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the log on standard output.
pub fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    start_queue(config, std::io::stdout())
}

/// Starts the log on standard error: for commands whose standard output is what they were asked for.
pub fn start_log_aside(config: &LogConfig) -> anyhow::Result<()> {
    start_queue(config, std::io::stderr())
}

fn start_queue(config: &LogConfig, out: impl AsFd) -> anyhow::Result<()> {
    let is_terminal = out.as_fd().is_terminal();
    // The descriptor itself: the standard library's handle has a lock, which whoever else writes would wait for while
    // a write hangs.
    let file = File::from(out.as_fd().try_clone_to_owned().context("the log's descriptor")?);
    let queue = LogQueue::start(file).context("the log's thread")?;
    start(config, BoxMakeWriter::new(queue.clone()), is_terminal)?;
    // Nobody starts it twice: `start` would have failed.
    let _ = LOG.set(queue);
    Ok(())
}

/// Writes metrics into the log, as a line of their own: they have room there when nothing else has. Says whether there
/// was any.
pub fn log_metrics(document: &impl std::fmt::Display) -> bool {
    let line = format!("{document}\n");
    match LOG.get() {
        Some(queue) => queue.push(Kind::Metrics, line.as_bytes()),
        // A test's. Where standard output is gone, there is nobody to tell.
        None => std::io::stdout().lock().write_all(line.as_bytes()).is_ok(),
    }
}

/// How many lines of this process's log were dropped so far.
pub fn log_lines_dropped() -> u64 {
    LOG.get().map_or(0, LogQueue::lost)
}

/// Writes the lines that wait, for the end of the process. Takes a second at most, whoever reads them or does not.
pub fn flush_log() {
    if let Some(queue) = LOG.get() {
        queue.flush(FLUSH_TIMEOUT);
    }
}

/// The last words of a process, on standard error and behind the log. Takes a second at most, like [`flush_log`].
pub fn last_words(line: String) {
    within(FLUSH_TIMEOUT, move || {
        if let Some(queue) = LOG.get() {
            queue.flush(FLUSH_TIMEOUT / 2);
        }
        eprintln!("{line}");
    });
}

/// Makes every panic of the process a log line like all others, or a line on standard error until there is a log. Its
/// message stays out: it may quote what came from outside.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "panicked");
        } else {
            let place = place.as_deref().unwrap_or("an unknown place");
            // Where standard error is gone, too, there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: panicked at {place}");
        }
    }));
}

/// Starts the log in a file: for tests that look into it.
pub fn start_log_into(config: &LogConfig, file: File) -> anyhow::Result<()> {
    start(config, BoxMakeWriter::new(std::sync::Mutex::new(file)), false)
}

fn start(config: &LogConfig, writer: BoxMakeWriter, is_terminal: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).with_context(|| format!("RUST_LOG={}", config.filter))?;
    // rdkafka closes a consumer once more when it is dropped, and calls it an error that it is closed
    // already. What matters of that module reaches us through its context.
    let filter = filter.add_directive("rdkafka::consumer::base_consumer=off".parse()?);
    // So does a pool of PostgreSQL's that a connection leads to a standby, many times a second.
    // Whoever waits for a connection is told why there is none.
    let filter = filter.add_directive("sqlx_core::pool::inner=off".parse()?);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match config.format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Pretty => {
            log.with_target(false).with_ansi(colours(is_terminal, |name| std::env::var_os(name))).compact().init()
        }
    }
    Ok(())
}

/// Whether lines for people are coloured: on a terminal alone, so that `status=202` can be searched for
/// in a file or in a container's log, where codes of colours would stand between name and value.
/// `NO_COLOR` and `CLICOLOR_FORCE` decide otherwise (<https://bixense.com/clicolors/>).
fn colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is_forced = variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    !is_set("NO_COLOR") && (is_terminal || is_forced)
}

/// Starts the metrics; the handle renders them as Prometheus' text.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".into()), &RECORDS)?
        .install_recorder()
        .context("metrics")?;
    describe_counter!("trace_exports_total", "Batches of spans sent to the collector, by outcome.");
    log_queue::describe();
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own: the hook is the whole process's.
    #[test]
    fn a_panic_before_there_is_a_log_is_one_line_without_its_message() {
        const CHILD: &str = "PANICS_BEFORE_THERE_IS_A_LOG";
        if std::env::var_os(CHILD).is_some() {
            log_panics();
            panic!("planted");
        }
        let name = concat!(module_path!(), "::a_panic_before_there_is_a_log_is_one_line_without_its_message");
        let name = name.strip_prefix("shared::").unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let ours: Vec<_> = said.lines().filter(|line| line.starts_with("error: panicked at ")).collect();
        assert!(ours.len() == 1 && ours[0].contains("telemetry.rs:") && !output.status.success(), "{said}");
        assert!(!said.contains("planted"), "{said}");
    }

    #[test]
    fn the_last_flush_takes_a_second_at_most() {
        assert!(FLUSH_TIMEOUT <= Duration::from_secs(1));
    }

    #[test]
    fn colours_are_for_terminals_unless_somebody_says_otherwise() {
        let with = |is_terminal, set: &[(&str, &str)]| {
            colours(is_terminal, |name| set.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into()))
        };
        assert!(with(true, &[]) && with(true, &[("NO_COLOR", "")]));
        assert!(with(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!with(false, &[]) && !with(true, &[("NO_COLOR", "1")]));
        assert!(!with(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
    }
}
