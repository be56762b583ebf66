//! What the operator's commands do to the cache: they have time, and want to know how it went.

use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, FromRedisValue, RedisResult};

use super::connection::Connection;
use super::{Cache, millis, scripts};
use crate::event::DeviceId;

/// How long one command of an operator may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys asked for in one step of a scan, and deleted by one command of a single node.
const CHUNK: usize = 1_000;
/// Commands under way at once to a cluster.
const CONCURRENCY: usize = 32;
/// How long fences of a forgotten device delete instead of replacing. Longer than a worker that was
/// about to send one can be away and still believe in its partition.
const FORGOTTEN_TTL: Duration = Duration::from_secs(3600);

impl Cache {
    /// Whether Redis answers an operator, who has more patience than a reader.
    pub async fn is_there(&self) -> bool {
        self.patiently::<String>(&redis::cmd("PING")).await.is_ok()
    }

    /// Deletes the entry of a device that was forgotten; to be called after the transaction.
    ///
    /// The new life begins at version 1, and what is cached may be at a higher one, which no fence
    /// would replace. After the transaction nothing can put the old body back: a reader needs its
    /// lease, which is deleted too; and a worker that read the old body for a fence before the
    /// transaction finds, when it is about to put it in, the mark that is left here beside the key,
    /// and deletes instead.
    ///
    /// # Errors
    /// Redis away: the entry lives until its TTL ends.
    pub async fn forget(&self, id: &DeviceId) -> anyhow::Result<()> {
        let script = scripts::forget();
        let mut call = script.prepare_invoke();
        call.key(self.key(id)).key(self.mark(id)).arg(millis(FORGOTTEN_TTL));
        let mut connection = self.connection.clone();
        let forgotten = call.invoke_async::<i64>(&mut connection);
        tokio::time::timeout(PATIENCE, forgotten).await.context("no answer from Redis")??;
        Ok(())
    }

    /// Deletes every entry under the prefix, and tells how many: after PostgreSQL was restored to an
    /// earlier time, cached bodies may have versions that its rows have not reached again, and no
    /// fence would replace them. The keys are scanned for, never listed at once, and unlinked in
    /// chunks: on a single node many at a time, in a cluster on each primary, one by one, because
    /// they lie in different slots. What comes in while it runs may stay.
    ///
    /// # Errors
    /// Redis away, or an empty prefix, under which everything lies that anybody has.
    pub async fn clear(&self) -> anyhow::Result<u64> {
        anyhow::ensure!(!self.prefix.is_empty(), "CACHE_KEY_PREFIX is empty: it would delete everything in Redis");
        let pattern = format!("{}*", literally(&self.prefix));
        let Connection::Cluster(client, connection) = &self.connection else {
            let mut deleted = 0;
            let mut cursor = 0;
            loop {
                let (next, keys): (u64, Vec<Vec<u8>>) = self.patiently(&scan(cursor, &pattern)).await?;
                if !keys.is_empty() {
                    deleted += self.patiently::<u64>(redis::cmd("UNLINK").arg(&keys)).await?;
                }
                if next == 0 {
                    return Ok(deleted);
                }
                cursor = next;
            }
        };
        let connection = connection.get_or_try_init(|| client.get_async_connection());
        let connection = tokio::time::timeout(PATIENCE, connection).await.context("no answer from Redis")??;
        let mut deleted = 0;
        for (host, port) in self.primaries().await? {
            deleted += self.clear_node(connection.clone(), &pattern, &host, port).await?;
        }
        Ok(deleted)
    }

    async fn clear_node(
        &self,
        mut connection: ClusterConnection,
        pattern: &str,
        host: &str,
        port: u16,
    ) -> anyhow::Result<u64> {
        let mut deleted = 0;
        let mut cursor = 0;
        loop {
            let node = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
            let answer = connection.route_command(scan(cursor, pattern), RoutingInfo::SingleNode(node));
            let answer = tokio::time::timeout(PATIENCE, answer).await.context("no answer from Redis")??;
            let (next, keys): (u64, Vec<Vec<u8>>) = FromRedisValue::from_redis_value(answer)?;
            let mut commands = Vec::with_capacity(keys.len());
            for key in keys {
                commands.push(async move { self.patiently::<u64>(redis::cmd("UNLINK").arg(key)).await });
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

    /// The addresses of a cluster's primaries: each range of slots names its own first.
    async fn primaries(&self) -> anyhow::Result<Vec<(String, u16)>> {
        let slots: Vec<Vec<redis::Value>> = self.patiently(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let mut found = Vec::new();
        for range in slots {
            let primary = range.into_iter().nth(2).context("CLUSTER SLOTS names no primary")?;
            let node: Vec<redis::Value> = FromRedisValue::from_redis_value(primary)?;
            let mut parts = node.into_iter();
            let (Some(host), Some(port)) = (parts.next(), parts.next()) else {
                anyhow::bail!("CLUSTER SLOTS names no address");
            };
            found.push((FromRedisValue::from_redis_value(host)?, FromRedisValue::from_redis_value(port)?));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    async fn patiently<T: FromRedisValue>(&self, command: &Cmd) -> anyhow::Result<T> {
        let mut connection = self.connection.clone();
        let answer: RedisResult<T> = tokio::time::timeout(PATIENCE, command.query_async(&mut connection))
            .await
            .context("no answer from Redis")?;
        Ok(answer?)
    }

    /// The key beside a device's own that says that it was forgotten: in the same slot of a cluster,
    /// and never another device's key, because no identifier holds a brace.
    pub(super) fn mark(&self, id: &DeviceId) -> String {
        let key = self.key(id);
        if self.prefix.contains('{') { format!("{key}{{forgotten}}") } else { format!("{{{key}}}forgotten") }
    }
}

fn scan(cursor: u64, pattern: &str) -> Cmd {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(CHUNK);
    command
}

/// A text as a pattern that matches it alone.
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
