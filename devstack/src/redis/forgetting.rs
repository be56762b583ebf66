//! A Redis that comes back with older data, or evicts what it has.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use super::{Redis, ask};

/// How many keys are added before keys are evicted: otherwise it might evict all that it has, and refuse writes.
const BALLAST: u32 = 2_000;
/// The part of its memory that keys of the ballast take, and that has to go.
const LESS_BYTES: u64 = 150 * 1024;

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

    /// Makes it evict about a third of its keys now, and one for each new one, because it has less memory than it
    /// needs; undone by [`keep_all`](Redis::keep_all). It gets some keys first, so that it has enough to evict.
    pub fn evict(&self) -> anyhow::Result<()> {
        let fill = format!("for i = 1, {BALLAST} do redis.call('SET', 'ballast:' .. i, string.rep('x', 100)) end");
        let answer = ask(self.port, &format!("EVAL \"{fill} return redis.status_reply('OK')\" 0"))?;
        ensure!(answer.starts_with("+OK"), "the ballast: {}", answer.trim());
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
