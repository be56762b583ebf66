//! The connection to one Redis server. It reconnects when it drops, and is replaced when it leads to the wrong server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ConnectionInfo, Pipeline, RedisResult, Value};
use tokio::time::{Instant, timeout};

/// The wait between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any caller waits: each command has its caller's deadline.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection is closed if sent data stays unacknowledged for this time. Otherwise it would hang for a quarter of
/// an hour if the host disappears.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// A connection that many commands share.
pub(super) struct Connection {
    /// Makes further connections with the same settings.
    pub(super) client: Client,
    settings: ConnectionManagerConfig,
    current: ArcSwap<ConnectionManager>,
    renewed: Mutex<Instant>,
}

impl Connection {
    /// Connects at once, in the background, and reconnects by itself, with `tries` attempts in a row; after that, the
    /// next command starts over.
    pub(super) fn open(info: ConnectionInfo, tries: usize) -> RedisResult<Self> {
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED));
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(tries)
            .set_min_delay(RECONNECT)
            .set_max_delay(RECONNECT_MAX);
        let client = Client::open(info)?;
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), settings.clone())?;
        // The first command connects. A reader's deadline would be too short for that.
        let mut first = manager.clone();
        tokio::spawn(async move { first.send_packed_command(&redis::cmd("PING")).await });
        Ok(Self { client, settings, current: ArcSwap::from_pointee(manager), renewed: Mutex::new(Instant::now()) })
    }

    /// Sends a command, and sends it again if the connection was closed: a server closes connections that were idle for
    /// longer than its `timeout`, which only the next command notices. Repeating a command does no harm.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        let mut manager = self.manager();
        match command.query_async(&mut manager).await {
            Err(error) if error.is_connection_dropped() => command.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// The same for a pipeline of `count` commands. Errors of the server are among the answers.
    pub(super) async fn query_all(&self, commands: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let mut manager = self.manager();
        match manager.req_packed_commands(commands, 0, count).await {
            Err(error) if error.is_connection_dropped() => manager.req_packed_commands(commands, 0, count).await,
            answers => answers,
        }
    }

    /// Resolves the server's name again and connects, at most once per `pause`. If a server answers, new commands use
    /// that connection; those under way keep the old one. If none answers, the old connection stays, and reconnects by
    /// itself, one attempt at a time.
    pub(super) fn renew(self: &Arc<Self>, pause: Duration) {
        {
            let mut renewed = self.renewed.lock();
            if renewed.elapsed() < pause {
                return;
            }
            *renewed = Instant::now();
        }
        let connection = Arc::clone(self);
        tokio::spawn(async move {
            // The same settings were valid before.
            let manager =
                ConnectionManager::new_lazy_with_config(connection.client.clone(), connection.settings.clone());
            let Ok(manager) = manager else { return };
            let mut asked = manager.clone();
            match timeout(CONNECT_TIMEOUT, asked.send_packed_command(&redis::cmd("PING"))).await {
                Ok(Err(error)) if error.is_io_error() => {}
                Ok(_) => connection.current.store(manager.into()),
                Err(_) => {}
            }
        });
    }

    fn manager(&self) -> ConnectionManager {
        ConnectionManager::clone(&self.current.load())
    }
}
