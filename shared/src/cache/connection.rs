//! The connections to one Redis server: one for each core that sends commands, so that an answer wakes nobody on another
//! core. Each reconnects when it drops, and is replaced when it leads to the wrong server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ConnectionInfo, Pipeline, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::runtime::cores::{PerCore, Place};

/// The wait between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any caller waits: each command has its caller's deadline.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection is closed if sent data stays unacknowledged for this time. Otherwise it would hang for a quarter of
/// an hour if the host disappears.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// Connections that many commands share.
pub(super) struct Connection {
    /// Makes further connections with the same settings.
    pub(super) client: Client,
    settings: ConnectionManagerConfig,
    cores: PerCore<Arc<OfCore>>,
    renewed: Mutex<Instant>,
}

/// The connection of one core.
struct OfCore {
    current: ArcSwap<ConnectionManager>,
    /// Drives it.
    runtime: Handle,
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
        let connection = Self { client, settings, cores: PerCore::default(), renewed: Mutex::new(Instant::now()) };
        connection.manager()?;
        Ok(connection)
    }

    /// Connects this core in the background, so that its first command does not wait for that.
    pub(super) fn attend(&self) {
        // An error comes with the first command, too.
        let _ = self.manager();
    }

    /// Sends a command, and sends it again if the connection was closed: a server closes connections that were idle for
    /// longer than its `timeout`, which only the next command notices. Repeating a command does no harm.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        let mut manager = self.manager()?;
        match command.query_async(&mut manager).await {
            Err(error) if error.is_connection_dropped() => command.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// The same for a pipeline of `count` commands. Errors of the server are among the answers.
    pub(super) async fn query_all(&self, commands: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let mut manager = self.manager()?;
        match manager.req_packed_commands(commands, 0, count).await {
            Err(error) if error.is_connection_dropped() => manager.req_packed_commands(commands, 0, count).await,
            answers => answers,
        }
    }

    /// Resolves the server's name again and connects, at most once per `pause`, on each core. If a server answers, new
    /// commands use that connection; those under way keep the old one. If none answers, the old connection stays, and
    /// reconnects by itself, one attempt at a time.
    pub(super) fn renew(self: &Arc<Self>, pause: Duration) {
        {
            let mut renewed = self.renewed.lock();
            if renewed.elapsed() < pause {
                return;
            }
            *renewed = Instant::now();
        }
        for core in self.cores.all() {
            let (connection, core) = (Arc::clone(self), Arc::clone(core));
            core.runtime.clone().spawn(async move {
                // The same settings were valid before.
                let Ok(manager) = connection.another() else { return };
                let mut asked = manager.clone();
                match timeout(CONNECT_TIMEOUT, asked.send_packed_command(&redis::cmd("PING"))).await {
                    Ok(Err(error)) if error.is_io_error() => {}
                    Ok(_) => core.current.store(manager.into()),
                    Err(_) => {}
                }
            });
        }
    }

    fn another(&self) -> RedisResult<ConnectionManager> {
        ConnectionManager::new_lazy_with_config(self.client.clone(), self.settings.clone())
    }

    /// The connection of this core.
    fn manager(&self) -> RedisResult<ConnectionManager> {
        let core = match self.cores.at(Place::here()) {
            Some(core) => core,
            None => {
                let manager = self.another()?;
                self.cores.here(|| OfCore::connecting(manager))
            }
        };
        Ok(ConnectionManager::clone(&core.current.load()))
    }
}

impl OfCore {
    /// Connects in the background.
    fn connecting(manager: ConnectionManager) -> Arc<Self> {
        // The first command connects. A reader's deadline would be too short for that.
        let (runtime, mut first) = (Handle::current(), manager.clone());
        runtime.spawn(async move { first.send_packed_command(&redis::cmd("PING")).await });
        Arc::new(Self { current: ArcSwap::from_pointee(manager), runtime })
    }
}
