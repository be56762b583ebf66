//! The load generators: wrk measures throughput, `bench open-loop` measures latency (why: `docs/performance.md`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::rounds::Turn;
use crate::usage::{self, Usage};

/// The fewest requests that a latency is taken from.
pub(crate) const PROBES: u32 = 10_000;

/// The time for at least this turn, and for [`PROBES`] requests at this rate.
pub(crate) fn long_enough(turn: Duration, rate: u32) -> Duration {
    turn.max(Duration::from_secs(PROBES.div_ceil(rate).into()))
}

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
    /// A token, or several, one a line: the first request has the first one, and so on, in turn.
    pub(crate) token: &'a str,
    pub(crate) connections: u32,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rate: f64,
    pub(crate) latency: Latency,
    pub(crate) usage: Usage,
    /// The generator's share of one core.
    pub(crate) share: f64,
}

impl From<Outcome> for Turn {
    fn from(Outcome { rate, share, .. }: Outcome) -> Self {
        Self { figure: rate, load: Some(share) }
    }
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    /// How many it was taken from.
    pub(crate) samples: u64,
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
        Self { samples: took.len() as u64, p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

/// What a generator prints at its end, behind [`RESULT`]; latencies in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Generated {
    pub(crate) requests: u64,
    pub(crate) microseconds: f64,
    pub(crate) failed: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

pub(crate) const RESULT: &str = "RESULT ";

impl<'a> Load<'a> {
    /// A load that posts the lines to this path as JSON.
    pub(crate) fn posts(base: &'a str, path: &'a str, lines: &'a Path, token: &'a str, connections: u32) -> Self {
        Self { base, path, lines, content_type: Some("application/json"), token, connections }
    }

    /// A load that reads the paths.
    pub(crate) fn reads(base: &'a str, lines: &'a Path, token: &'a str, connections: u32) -> Self {
        Self { base, path: "/", lines, content_type: None, token, connections }
    }

    /// As fast as the server answers, with wrk.
    pub(crate) fn saturate(&self, time: Duration) -> anyhow::Result<Outcome> {
        self.wrk(time, |told| told.failed == 0)
    }

    /// The same for requests that the server has to refuse.
    pub(crate) fn refused(&self, time: Duration) -> anyhow::Result<Outcome> {
        // Of the last requests wrk counts some only as sent.
        self.wrk(time, |told| told.failed >= told.requests - told.requests / 100)
    }

    fn wrk(&self, time: Duration, is_right: fn(&Generated) -> bool) -> anyhow::Result<Outcome> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wrk.lua");
        let mut command = Command::new("wrk");
        command
            // One thread: more would take the cores from the server. How much of its core it needed is reported.
            .args(["-t1", "--timeout", "30s", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", time.as_secs().max(1)), "-s"])
            .arg(script)
            .arg(format!("{}{}", self.base, self.path))
            .arg("--")
            .arg(self.lines)
            .arg(self.tokens()?)
            .args(self.content_type);
        run("wrk", command, is_right)
    }

    /// At this many requests a second, whether or not earlier ones are answered.
    pub(crate) fn at_rate(&self, rate: u32, time: Duration) -> anyhow::Result<Outcome> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["open-loop", &format!("{}{}", self.base, self.path)])
            .arg(self.lines)
            .arg(self.tokens()?)
            .args(["--rate", &rate.to_string(), "--seconds", &time.as_secs().max(1).to_string()])
            .args(["--connections", &self.connections.to_string()]);
        if let Some(content_type) = self.content_type {
            command.args(["--content-type", content_type]);
        }
        run("open loop", command, |told| told.failed == 0)
    }

    /// A file with the tokens: a thousand would be too long for an argument.
    fn tokens(&self) -> anyhow::Result<PathBuf> {
        let file = self.lines.with_extension("tokens");
        std::fs::write(&file, self.token)?;
        Ok(file)
    }
}

/// Runs a generator to its end and measures its resource usage.
fn run(name: &str, mut command: Command, is_right: fn(&Generated) -> bool) -> anyhow::Result<Outcome> {
    let (before, began) = (usage::ended_children(), Instant::now());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {name}: `make bench` installs it"))?;
    let seconds = began.elapsed().as_secs_f64();
    // Valid because no other child process ends meanwhile.
    let cpu_seconds = usage::ended_children() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name} failed ({}): {text}", output.status);
    let line = text.lines().find_map(|line| line.strip_prefix(RESULT)).context(text.clone())?;
    let told: Generated = serde_json::from_str(line)?;
    ensure!(is_right(&told) && told.requests > 0, "requests did not end as expected: {text}");
    let Generated { requests, microseconds, p50, p99, p999, .. } = told;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = requests as f64 / microseconds * 1e6;
    Ok(Outcome {
        rate,
        latency: Latency { samples: requests, p50: p50 / 1e3, p99: p99 / 1e3, p999: p999 / 1e3 },
        usage: Usage { name: name.to_owned(), cpu_seconds, resident_mib: 0.0, peak_mib: 0.0 },
        share: cpu_seconds / seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let took = (1..=10_000).rev().map(Duration::from_micros).collect();
        let Latency { samples, p50, p99, p999 } = Latency::of(took);
        assert_eq!((samples, p50, p99, p999), (10_000, 5.0, 9.9, 9.99));
        assert!(Latency::of(Vec::new()).p50.is_nan());
    }

    #[test]
    fn latencies_are_of_ten_thousand_requests() {
        let second = Duration::from_secs(1);
        assert_eq!(long_enough(5 * second, 2_000), 5 * second);
        assert_eq!(long_enough(5 * second, 750), 14 * second);
        assert_eq!(long_enough(60 * second, 750), 60 * second);
    }
}
