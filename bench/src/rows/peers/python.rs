//! The system in Python (`bench/peers/python`): two processes, as the machine has two cores.

use std::time::Duration;

use anyhow::Context as _;
use devstack::{Process, asked, foreground, port};
use rustix::process::Signal;

use super::install::{Installed, sources};
use crate::bed::{SECRET, Site};
use crate::usage::Meter;

const PROCESSES: usize = 2;
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Python {
    processes: Vec<Process>,
    /// Of the API: `http://host:port`.
    pub(super) url: String,
}

impl Python {
    /// Starts the API, with the topic, the database and the cache of this site.
    pub(super) fn api(installed: &Installed, site: &Site<'_>) -> anyhow::Result<Self> {
        let port = port::free();
        let bind = format!("127.0.0.1:{port}");
        let own = [("API_BIND", bind.as_str()), ("JWT_SECRET", SECRET), ("CACHE_TTL_SECONDS", "3600")];
        let python = Self { url: format!("http://{bind}"), ..Self::start(installed, "api.py", site, &own)? };
        // Each process listens for itself; the kernel divides the connections.
        let all_listen = || Ok((listeners(port)? == PROCESSES).then_some(()));
        asked(TIMEOUT, Duration::from_millis(50), all_listen)?.context("the API in Python does not start")?;
        Ok(python)
    }

    /// Starts the worker with the database and the cache of this site, and these settings.
    pub(super) fn worker(installed: &Installed, site: &Site<'_>, own: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start(installed, "worker.py", site, own)
    }

    fn start(installed: &Installed, program: &str, site: &Site<'_>, own: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut env = site.scope.env();
        env.push(("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()));
        env.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let args = [sources("python").join(program)];
        let start = |_| foreground(installed.python.as_os_str(), &args, &env);
        Ok(Self { processes: (0..PROCESSES).map(start).collect::<anyhow::Result<_>>()?, url: String::new() })
    }

    pub(super) fn meters(&self) -> Vec<Meter> {
        self.processes.iter().map(|process| Meter::start("python", process.pid())).collect()
    }

    /// Ends it, so that its group has no member left.
    pub(super) fn end(self) -> anyhow::Result<()> {
        for process in &self.processes {
            process.signal(Signal::TERM)?;
        }
        for process in &self.processes {
            process.wait(TIMEOUT)?.context("the worker in Python does not end")?;
        }
        Ok(())
    }
}

/// The number of sockets that listen on this port of 127.0.0.1.
fn listeners(port: u16) -> anyhow::Result<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
    Ok(listening(&table, port))
}

fn listening(table: &str, port: u16) -> usize {
    let (local, listens) = (format!(":{port:04X}"), "0A");
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|address| address.ends_with(&local)) && columns.nth(1) == Some(listens)
    };
    table.lines().filter(is_one).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_counted_and_connections_are_not() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
                     1: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
                     2: 0100007F:1F90 0100007F:A001 01 00000000:00000000\n   \
                     3: 0100007F:A001 0100007F:1F90 01 00000000:00000000\n";
        assert_eq!((listening(table, 8080), listening(table, 80)), (2, 0));
    }
}
