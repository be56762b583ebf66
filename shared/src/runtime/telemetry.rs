//! Logs, metrics and traces.
//!
//! A log line is a constant message plus fields. It never contains a payload, a token or a secret.

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

/// The upper bounds of the buckets of histograms in seconds: from a cached read to an event that waited for the end of
/// an outage.
const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
/// The upper bounds of the buckets of histograms in records.
const RECORDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// The log queue of this process, once it is started.
static LOG: OnceLock<LogQueue> = OnceLock::new();

/// The timeout for writing the last lines at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the log on standard output.
pub fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    start_queue(config, std::io::stdout())
}

/// Starts the log on standard error, for commands whose standard output is their result.
pub fn start_log_aside(config: &LogConfig) -> anyhow::Result<()> {
    start_queue(config, std::io::stderr())
}

fn start_queue(config: &LogConfig, out: impl AsFd) -> anyhow::Result<()> {
    let is_terminal = out.as_fd().is_terminal();
    // Use the descriptor itself: the standard library's handle has a lock, and while a write hangs, other writers would
    // wait for it.
    let file = File::from(out.as_fd().try_clone_to_owned().context("the log's descriptor")?);
    let queue = LogQueue::start(file).context("the log's thread")?;
    start(config, BoxMakeWriter::new(queue.clone()), is_terminal)?;
    // It cannot be set twice: `start` would have failed.
    let _ = LOG.set(queue);
    Ok(())
}

/// Writes metrics into the log, as a separate line, for which the queue reserves room. Returns false if it was dropped.
pub fn log_metrics(document: &impl std::fmt::Display) -> bool {
    let line = format!("{document}\n");
    match LOG.get() {
        Some(queue) => queue.push(Kind::Metrics, line.as_bytes()),
        // Only in tests.
        None => std::io::stdout().lock().write_all(line.as_bytes()).is_ok(),
    }
}

/// The number of log lines that this process has dropped so far.
pub fn log_lines_dropped() -> u64 {
    LOG.get().map_or(0, LogQueue::lost)
}

/// Writes the waiting lines at the end of the process. Takes at most a second, even if the log is not read.
pub fn flush_log() {
    if let Some(queue) = LOG.get() {
        queue.flush(FLUSH_TIMEOUT);
    }
}

/// Writes a process's last line to standard error, after the log. Takes at most a second, like [`flush_log`].
pub fn last_words(line: String) {
    within(FLUSH_TIMEOUT, move || {
        if let Some(queue) = LOG.get() {
            queue.flush(FLUSH_TIMEOUT / 2);
        }
        eprintln!("{line}");
    });
}

/// Logs every panic of the process, or writes it to standard error before the log is started. Without the panic's
/// message, which may contain data from outside.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "panicked");
        } else {
            let place = place.as_deref().unwrap_or("an unknown place");
            // If standard error is gone too, the panic cannot be reported.
            let _ = writeln!(std::io::stderr(), "error: panicked at {place}");
        }
    }));
}

/// Starts the log in a file, for tests that read it.
pub fn start_log_into(config: &LogConfig, file: File) -> anyhow::Result<()> {
    start(config, BoxMakeWriter::new(std::sync::Mutex::new(file)), false)
}

fn start(config: &LogConfig, writer: BoxMakeWriter, is_terminal: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).with_context(|| format!("RUST_LOG={}", config.filter))?;
    // rdkafka closes a consumer again when it is dropped, and logs an error because it is closed already. The
    // important messages of that module reach us through its context.
    let filter = filter.add_directive("rdkafka::consumer::base_consumer=off".parse()?);
    // sqlx's pool logs many times a second that a connection leads to a standby. The caller that waits for a
    // connection gets that reason as its error.
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

/// Whether lines for people are coloured: only on a terminal, so that `status=202` can be found in a file or a
/// container's log, where colour codes would be between name and value. `NO_COLOR` and `CLICOLOR_FORCE` override this
/// (<https://bixense.com/clicolors/>).
fn colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is_forced = variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    !is_set("NO_COLOR") && (is_terminal || is_forced)
}

/// Starts the metrics; the handle renders them in Prometheus' text format.
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

    /// Runs in a child process, because the panic hook is global.
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
