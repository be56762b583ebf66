//! Cache operations of operators' commands. They have a longer timeout than a reader, and report the outcome.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::CacheKey;
use super::node::Node;
use super::topology::absent_key;
use super::ttl::ERASED_TTL;
use super::{Cache, millis, scripts, understood};

const OPERATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys asked for in one step of a scan, and deleted by one command of a single node.
const CHUNK: usize = 1_000;
/// The most commands under way at once.
const CONCURRENCY: usize = 32;

impl Cache {
    /// Whether every node of Redis answers, with the longer timeout of an operator.
    pub async fn is_there(&self) -> anyhow::Result<()> {
        self.patient().answering().await.all()
    }

    /// Deletes the entry of an erased resource. Call it after the transaction.
    ///
    /// After an erasure the resource starts again at version 1. A cached body may have a higher version, which no fence
    /// would replace. After the transaction nothing can store the old body again: a reader's lease is deleted too, and
    /// a worker that read the old body for a fence before the transaction finds the mark that this sets, and deletes
    /// the entry instead. If Redis is away, the entry lives until its TTL ends.
    pub async fn erase(&self, key: &CacheKey) -> anyhow::Result<()> {
        let mut call = scripts::erase();
        call.key(self.redis_key(key)).key(self.mark(key)).arg(millis(ERASED_TTL));
        self.patient().run::<i64>(&call).await?;
        Ok(())
    }

    /// Deletes every entry of every kind, and returns their number. After PostgreSQL was restored to an earlier time,
    /// cached bodies may have versions that its rows have not reached again, and no fence would replace them. The keys
    /// are found by scanning, never listed at once, and unlinked in chunks on a single node, or one by one on each
    /// primary of a cluster, because they are in different slots. Entries stored while this runs may stay.
    pub async fn clear(&self) -> anyhow::Result<u64> {
        let patterns: Vec<_> =
            self.kinds.iter().map(|kind| format!("{}*", literally(&[&*self.prefix, kind.prefix].concat()))).collect();
        let patient = self.patient();
        let nodes = patient.servers.nodes(Instant::now() + OPERATOR_TIMEOUT).await.map_err(anyhow::Error::msg)?;
        anyhow::ensure!(!nodes.is_empty(), "no node of the Redis cluster has a slot");
        let mut deleted = 0;
        for node in nodes {
            for pattern in &patterns {
                deleted += patient.clear_node(&node, pattern).await?;
            }
        }
        Ok(deleted)
    }

    async fn clear_node(&self, node: &Node, pattern: &str) -> anyhow::Result<u64> {
        let mut deleted = 0;
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(CHUNK);
            let answer = node.ask_anyway(&scan, Instant::now() + OPERATOR_TIMEOUT).await?;
            let (next, keys): (u64, Vec<Vec<u8>>) = understood(answer)?;
            // In a cluster one by one, because the keys are in different slots.
            let size = if self.servers.is_cluster() { 1 } else { CHUNK };
            let mut commands = Vec::with_capacity(keys.len().div_ceil(size));
            for chunk in keys.chunks(size) {
                commands.push(self.unlink(chunk));
            }
            let mut unlinked = stream::iter(commands).buffer_unordered(CONCURRENCY);
            while let Some(count) = unlinked.try_next().await? {
                deleted += count;
            }
            if next == 0 {
                return Ok(deleted);
            }
            cursor = next;
        }
    }

    async fn unlink(&self, keys: &[Vec<u8>]) -> anyhow::Result<u64> {
        let Some(first) = keys.first() else { return Ok(0) };
        Ok(self.ask(first, redis::cmd("UNLINK").arg(keys)).await?)
    }

    fn patient(&self) -> Self {
        Self { timeout: OPERATOR_TIMEOUT, ..self.clone() }
    }

    /// The key that marks a resource as erased. It is in the same slot of a cluster as the resource's key, and never
    /// another resource's key, because no resource's key contains a brace.
    pub(super) fn mark(&self, key: &CacheKey) -> String {
        format!("{{{}}}forgotten", self.redis_key(key))
    }

    /// A key that never exists, used to detect a replica. `None` in a cluster: its replicas redirect by themselves, and
    /// while a slot is being moved, a command with an absent key fails.
    pub(super) fn absent(&self) -> Option<String> {
        (!self.servers.is_cluster()).then(|| absent_key(&self.prefix, &self.kinds))
    }
}

/// A text as a pattern that matches only this text.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::literally;

    #[test]
    fn a_prefix_matches_itself_alone() {
        assert_eq!(literally("resource:"), "resource:");
        assert_eq!(literally(r"a*b?[c]\"), r"a\*b\?\[c\]\\");
    }
}
