//! A Redis that comes back with older data, or evicts what it has.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use super::{Redis, ask};

/// By how much less memory than it uses now a Redis may use while it evicts.
const LESS_BYTES: u64 = 4 * 1024;

impl Redis {
    /// Saves its data, for [`restore`](Redis::restore).
    pub fn save(&self) -> anyhow::Result<()> {
        self.tell("SAVE")?;
        ensure!(self.saved().is_file(), "it has not saved {}", self.saved().display());
        Ok(())
    }

    /// Kills it and starts it again with the data that it had when it was [saved](Redis::save). A later start has no
    /// data, as before.
    pub fn restore(&self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.server.start()?;
        fs::remove_file(self.saved()).with_context(|| format!("cannot remove {}", self.saved().display()))
    }

    fn saved(&self) -> PathBuf {
        self.data.join("dump.rdb")
    }

    /// Makes it evict any keys from now on, because it has less memory than it needs; undone by
    /// [`keep_all`](Redis::keep_all).
    pub fn evict(&self) -> anyhow::Result<()> {
        let most = self.number("memory", "used_memory")?.saturating_sub(LESS_BYTES);
        self.tell("CONFIG SET maxmemory-policy allkeys-random")?;
        self.tell(&format!("CONFIG SET maxmemory {most}"))
    }

    /// Makes it keep all keys again.
    pub fn keep_all(&self) -> anyhow::Result<()> {
        self.tell("CONFIG SET maxmemory 0")?;
        self.tell("CONFIG SET maxmemory-policy noeviction")
    }

    /// The number of keys that it has evicted since its start.
    pub fn evicted_keys(&self) -> anyhow::Result<u64> {
        self.number("stats", "evicted_keys")
    }

    fn number(&self, section: &str, name: &str) -> anyhow::Result<u64> {
        let said = ask(self.port, &format!("INFO {section}"))?;
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).with_context(|| format!("no {name} in {said}"))
    }
}
