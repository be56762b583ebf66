//! The resource usage of processes, from `/proc`.

use std::fs;

use serde::Serialize;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every current Linux.
const TICKS: f64 = 100.0;

/// The usage of a process and its descendants during a measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Usage {
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    /// Resident memory at the end, in MiB; shared memory is counted once.
    pub(crate) resident_mib: f64,
    /// The peak memory of the process itself, in MiB.
    pub(crate) peak_mib: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Meter {
    name: String,
    pid: u32,
    before: f64,
}

impl Meter {
    pub(crate) fn start(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid, before: cpu(pid) }
    }

    pub(crate) fn read(&self) -> Usage {
        Usage {
            name: self.name.clone(),
            cpu_seconds: cpu(self.pid) - self.before,
            resident_mib: family(self.pid).iter().map(|pid| resident(*pid)).sum(),
            peak_mib: status(self.pid, "VmHWM:") / 1024.0,
        }
    }
}

/// CPU time of a process, its children, and its ended children.
fn cpu(pid: u32) -> f64 {
    family(pid).iter().map(|pid| times(*pid).iter().sum::<f64>()).sum()
}

/// CPU time of this process's ended children.
pub(crate) fn ended_children() -> f64 {
    times(std::process::id()).iter().skip(2).sum()
}

/// User and system time of the process and of its ended children, in seconds.
fn times(pid: u32) -> Vec<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (_, rest) = text.rsplit_once(") ").unwrap_or_default();
    rest.split(' ').skip(11).take(4).filter_map(|field| Some(field.parse::<f64>().ok()? / TICKS)).collect()
}

fn resident(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    field(&rollup, "Pss:") / 1024.0
}

fn status(pid: u32, name: &str) -> f64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), name)
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// A process and its children: PostgreSQL has one level, the others have none.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") / 1024.0 / 1024.0;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} x {}, {memory:.0} GiB, Linux {}", model.trim_start_matches([' ', '\t', ':']).trim(), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let mut sum = 0_u64;
        let meter = Meter::start("me", std::process::id());
        while meter.read().cpu_seconds < 0.02 {
            sum = std::hint::black_box(sum + 1);
        }
        let usage = meter.read();
        assert!(usage.resident_mib > 0.5 && usage.peak_mib >= 0.5, "{usage:?}");
    }
}
