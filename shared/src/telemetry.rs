//! Logs, metrics and traces.
//!
//! A log line is a constant message plus fields. Never a payload, a token or a secret.

pub mod traces;

use std::ffi::OsString;
use std::io::IsTerminal as _;

use anyhow::Context;
use metrics::describe_counter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogConfig, LogFormat};

/// Upper bounds of the buckets of every histogram of seconds: a cached read is at the one end, an event
/// that waited out an outage at the other.
const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
/// Those of every histogram of records.
const RECORDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Starts the log on standard output.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    start(config, BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal())
}

/// Starts the log on standard error: for commands whose standard output is what they were asked for.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start_log_aside(config: &LogConfig) -> anyhow::Result<()> {
    start(config, BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal())
}

/// Starts the log in a file: for tests that look into it.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start_log_into(config: &LogConfig, file: std::fs::File) -> anyhow::Result<()> {
    start(config, BoxMakeWriter::new(std::sync::Mutex::new(file)), false)
}

fn start(config: &LogConfig, writer: BoxMakeWriter, is_terminal: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).with_context(|| format!("RUST_LOG={}", config.filter))?;
    // rdkafka closes a consumer once more when it is dropped, and calls it an error that it is closed
    // already. What matters of that module reaches us through its context.
    let filter = filter.add_directive("rdkafka::consumer::base_consumer=off".parse()?);
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
///
/// # Errors
/// They were started before.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".into()), &RECORDS)?
        .install_recorder()
        .context("metrics")?;
    describe_counter!("trace_exports_total", "Batches of spans sent to the collector, by outcome.");
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

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
