//! One node or a cluster.

use anyhow::Context;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

use crate::config::RedisConfig;

/// A shared, multiplexed connection that comes back by itself.
#[derive(Clone)]
pub(super) enum Connection {
    Node(ConnectionManager),
    /// A cluster has to be asked for its slots first: connected when first used.
    Cluster(Arc<ClusterClient>, Arc<OnceCell<ClusterConnection>>),
}

/// The wait between two tries to connect.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    pub(super) fn open(config: &RedisConfig) -> anyhow::Result<Self> {
        // The error of the URL's parser could quote a password.
        let wrong = "REDIS_URL is not a Redis URL";
        if config.cluster {
            let nodes: Vec<&str> = config.url.expose().split(',').map(str::trim).collect();
            let client = ClusterClient::builder(nodes)
                .connection_timeout(CONNECT_TIMEOUT)
                .retries(1)
                .build()
                .ok()
                .context(wrong)?;
            return Ok(Self::Cluster(Arc::new(client), Arc::default()));
        }
        let client = redis::Client::open(config.url.expose()).ok().context(wrong)?;
        // Deadlines are set for each command, by its user; tries to connect never end, because
        // nobody would start them again.
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            .set_number_of_retries(usize::MAX)
            .set_min_delay(RECONNECT)
            .set_max_delay(RECONNECT_MAX);
        Ok(Self::Node(ConnectionManager::new_lazy_with_config(client, settings).ok().context(wrong)?))
    }

    /// Whether one script may touch many keys.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command),
            Self::Cluster(client, connection) => Box::pin(async move {
                let connection = connection.get_or_try_init(|| client.get_async_connection()).await?;
                connection.clone().req_packed_command(command).await
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(node) => node.req_packed_commands(pipeline, offset, count),
            // A cluster refuses pipelines across slots: none are sent.
            Self::Cluster(..) => {
                Box::pin(async { Err(RedisError::from((ErrorKind::InvalidClientConfig, "no pipelines to a cluster"))) })
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(node) => node.get_db(),
            Self::Cluster(..) => 0,
        }
    }
}
