//! The load generators: wrk measures throughput, oha measures latency (why: `docs/performance.md`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::usage::{self, Usage};

#[derive(Debug, Clone)]
pub(crate) struct Load<'a> {
    /// Scheme, host and port.
    pub(crate) base: &'a str,
    /// The path for posts; for reads the paths come from the file.
    pub(crate) path: &'a str,
    /// A file with one body or one path per line.
    pub(crate) lines: &'a Path,
    /// The content type of the bodies; `None` for reads.
    pub(crate) content_type: Option<&'a str>,
    pub(crate) token: &'a str,
    pub(crate) connections: u32,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rate: f64,
    pub(crate) latency: Latency,
    pub(crate) usage: Usage,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latency {
    pub(crate) fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |part: f64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rank"
            )]
            let rank = (part * took.len() as f64).ceil() as usize;
            took.get(rank.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

#[derive(Deserialize)]
struct WrkResult {
    requests: f64,
    microseconds: f64,
    failed: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

impl<'a> Load<'a> {
    /// A load that posts the lines to this path as JSON.
    pub(crate) fn posts(base: &'a str, path: &'a str, lines: &'a Path, token: &'a str, connections: u32) -> Self {
        Self { base, path, lines, content_type: Some("application/json"), token, connections }
    }

    /// As fast as the server answers, with wrk.
    pub(crate) fn saturate(&self, time: Duration) -> anyhow::Result<Outcome> {
        self.wrk(time, |told| told.failed == 0.0)
    }

    /// The same for requests that the server has to refuse.
    pub(crate) fn refused(&self, time: Duration) -> anyhow::Result<Outcome> {
        // Of the last requests wrk counts some only as sent.
        self.wrk(time, |told| told.failed >= told.requests * 0.99)
    }

    fn wrk(&self, time: Duration, is_right: fn(&WrkResult) -> bool) -> anyhow::Result<Outcome> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wrk.lua");
        let mut command = Command::new("wrk");
        command
            // One thread is enough: it sends more than these servers can answer.
            .args(["-t1", "--timeout", "30s", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", time.as_secs().max(1)), "-s"])
            .arg(script)
            .arg(format!("{}{}", self.base, self.path))
            .arg("--")
            .arg(self.lines)
            .arg(self.token)
            .args(self.content_type);
        let (output, usage) = run("wrk", command)?;
        let line = output.lines().find_map(|line| line.strip_prefix("RESULT ")).context(output.clone())?;
        let told: WrkResult = serde_json::from_str(line)?;
        ensure!(is_right(&told) && told.requests > 0.0, "requests did not end as expected: {output}");
        Ok(Outcome {
            rate: told.requests / told.microseconds * 1e6,
            latency: Latency { p50: told.p50 / 1e3, p99: told.p99 / 1e3, p999: told.p999 / 1e3 },
            usage,
        })
    }

    /// At this many requests a second, with oha.
    pub(crate) fn at_rate(&self, rate: u32, time: Duration) -> anyhow::Result<Outcome> {
        let mut command = Command::new(devstack::target_dir().join("tools/bin/oha"));
        command
            .args(["--no-tui", "--output-format", "json", "--latency-correction", "--disable-compression"])
            // Wait for requests in flight at the end instead of counting them as failed.
            .args(["--wait-ongoing-requests-after-deadline"])
            .args(["-q", &rate.to_string(), "-c", &self.connections.to_string()])
            .args(["-z", &format!("{}s", time.as_secs().max(1))])
            .args(["-H", &format!("authorization: Bearer {}", self.token)]);
        match self.content_type {
            Some(content_type) => {
                command.args(["-m", "POST", "-T", content_type, "-Z"]).arg(self.lines);
                command.arg(format!("{}{}", self.base, self.path));
            }
            None => {
                // oha needs full URLs.
                let paths = std::fs::read_to_string(self.lines)?;
                let urls: String = paths.lines().map(|path| format!("{}{path}\n", self.base)).collect();
                let file = self.lines.with_extension("urls");
                std::fs::write(&file, urls)?;
                command.arg("--urls-from-file").arg(file);
            }
        }
        let (output, usage) = run("oha", command)?;
        let told: Value = serde_json::from_str(&output).with_context(|| output.clone())?;
        let number = |place: &str| told.pointer(place).and_then(Value::as_f64).with_context(|| output.clone());
        let counts = |place: &str| told.get(place).and_then(Value::as_object).with_context(|| output.clone());
        let statuses = counts("statusCodeDistribution")?;
        let good = !statuses.is_empty() && statuses.keys().all(|code| code.starts_with('2'));
        ensure!(good && counts("errorDistribution")?.is_empty(), "requests failed: {output}");
        let percentile = |name: &str| Ok::<_, anyhow::Error>(number(&format!("/latencyPercentiles/{name}"))? * 1e3);
        let latency = Latency { p50: percentile("p50")?, p99: percentile("p99")?, p999: percentile("p99.9")? };
        Ok(Outcome { rate: number("/summary/requestsPerSec")?, latency, usage })
    }
}

/// Runs a generator to its end and measures its resource usage.
fn run(name: &str, mut command: Command) -> anyhow::Result<(String, Usage)> {
    let before = usage::ended_children();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {name}: `make bench` installs it"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name} failed ({}): {text}", output.status);
    // Valid because no other child process ends meanwhile.
    let cpu_seconds = usage::ended_children() - before;
    Ok((text, Usage { name: name.to_owned(), cpu_seconds, resident_mib: 0.0, peak_mib: 0.0 }))
}
