//! A Redis that replicates from another and can take over.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{Redis, ask};
use crate::process::asked;

/// The timeout of the initial synchronisation, and of a change of roles.
const ROLE_TIMEOUT: Duration = Duration::from_secs(20);

impl Redis {
    /// Makes this server a replica of another, and waits until it is synchronised.
    pub fn follow(&self, primary: &Redis) -> anyhow::Result<()> {
        for server in [primary, self] {
            // Start the synchronisation at once instead of waiting for more replicas.
            server.tell("CONFIG SET repl-diskless-sync-delay 0")?;
        }
        self.tell(&format!("REPLICAOF 127.0.0.1 {}", primary.port))?;
        self.until_it_says("master_link_status:up\r\n")?;
        // The primary notices the end of the synchronisation a moment later.
        primary.until_it_says(&format!("port={},state=online", self.port))
    }

    /// Transfers the primary's role to a replica ([`follow`](Redis::follow)) with `FAILOVER`: no acknowledged write is
    /// lost. Connections stay open; their writes are refused from then on.
    pub fn hand_over(&self, replica: &Redis) -> anyhow::Result<()> {
        self.tell(&format!("FAILOVER TO 127.0.0.1 {}", replica.port))?;
        replica.until_it_says("role:master\r\n")?;
        self.until_it_says("master_link_status:up\r\n")
    }

    /// Cuts a replica off from its primary: it stays a replica and serves its data, but gets no updates.
    pub fn lose_primary(&self) -> anyhow::Result<()> {
        // Nothing listens there.
        self.tell("REPLICAOF 127.0.0.1 1")
    }

    /// Makes a replica a primary with the data that it has.
    pub fn promote(&self) -> anyhow::Result<()> {
        self.tell("REPLICAOF NO ONE")?;
        self.until_it_says("role:master\r\n")
    }

    pub(super) fn tell(&self, command: &str) -> anyhow::Result<()> {
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
