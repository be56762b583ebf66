//! A server that follows another one, and takes over from it.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{Redis, ask};
use crate::process::asked;

/// How long a first copy of everything may take, and how long a change of roles.
const ROLE_TIMEOUT: Duration = Duration::from_secs(20);

impl Redis {
    /// Lets this server follow another one, and waits until it has all of it.
    pub fn follow(&self, primary: &Redis) -> anyhow::Result<()> {
        for server in [primary, self] {
            // A copy that is asked for is made at once, not with those of others that may come.
            server.tell("CONFIG SET repl-diskless-sync-delay 0")?;
        }
        self.tell(&format!("REPLICAOF 127.0.0.1 {}", primary.port))?;
        self.until_it_says("master_link_status:up\r\n")?;
        // It knows a moment later that all of it has arrived.
        primary.until_it_says(&format!("port={},state=online", self.port))
    }

    /// Hands the role of the primary to a server that [follows](Redis::follow) this one, as `FAILOVER` does it: no write
    /// that was acknowledged is lost. Connections stay; what they write is refused from then on.
    pub fn hand_over(&self, replica: &Redis) -> anyhow::Result<()> {
        self.tell(&format!("FAILOVER TO 127.0.0.1 {}", replica.port))?;
        replica.until_it_says("role:master\r\n")?;
        self.until_it_says("master_link_status:up\r\n")
    }

    /// Cuts a replica off from its primary: it stays one, serves what it has, and hears of nothing new.
    pub fn lose_primary(&self) -> anyhow::Result<()> {
        // Nothing listens there.
        self.tell("REPLICAOF 127.0.0.1 1")
    }

    fn tell(&self, command: &str) -> anyhow::Result<()> {
        let answer = ask(self.port, command)?;
        ensure!(answer.starts_with("+OK"), "{command}: {}", answer.trim());
        Ok(())
    }

    fn until_it_says(&self, words: &str) -> anyhow::Result<()> {
        let mut said = String::new();
        let says = asked(ROLE_TIMEOUT, Duration::from_millis(20), || {
            said = ask(self.port, "INFO replication").unwrap_or_default();
            Ok(said.contains(words).then_some(()))
        })?;
        says.with_context(|| format!("Redis on port {} does not say {}: {}", self.port, words.trim(), said.trim()))
    }
}
