//! The connection to one Redis server: made again by itself when it drops, and anew when it leads to the wrong server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ConnectionInfo, Pipeline, RedisResult, Value};
use tokio::time::{Instant, timeout};

/// The wait between two tries to connect.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than anybody waits: deadlines are set for each command, by its user.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// After what was sent went unacknowledged for so long, the connection is given up: a host that is
/// gone without a word would hold it for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// A connection that many questions share.
pub(super) struct Connection {
    client: Client,
    settings: ConnectionManagerConfig,
    current: ArcSwap<ConnectionManager>,
    renewed: Mutex<Instant>,
}

impl Connection {
    /// One that is made at once, in the background, and again by itself: so many times in a row, and
    /// from the start with the next question after that.
    pub(super) fn open(info: ConnectionInfo, tries: usize) -> RedisResult<Self> {
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED));
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(tries)
            .set_min_delay(RECONNECT)
            .set_max_delay(RECONNECT_MAX);
        let client = Client::open(info)?;
        let manager = connect(&client, &settings)?;
        Ok(Self { client, settings, current: ArcSwap::from_pointee(manager), renewed: Mutex::new(Instant::now()) })
    }

    /// What connects.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Asks, and once more where there was no connection: the server closes one that was idle for longer than its
    /// `timeout`, and only whoever uses it finds out. To do the same twice does no harm.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        let mut manager = self.manager();
        match command.query_async(&mut manager).await {
            Err(error) if error.is_connection_dropped() => command.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// Asks so many things at once, and likewise once more. Errors of the server are among the answers.
    pub(super) async fn query_all(&self, commands: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let mut manager = self.manager();
        match manager.req_packed_commands(commands, 0, count).await {
            Err(error) if error.is_connection_dropped() => manager.req_packed_commands(commands, 0, count).await,
            answers => answers,
        }
    }

    /// Makes another connection, to wherever the server's name leads by now, and where a server answers there, leaves
    /// this one to what is under way: not sooner than so long after the last time. Where nobody answers it stays, and
    /// goes on trying by itself: one try at a time, for however long the server is away.
    pub(super) fn renew(self: &Arc<Self>, pause: Duration) {
        {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed.elapsed() < pause {
                return;
            }
            *renewed = Instant::now();
        }
        let connection = Arc::clone(self);
        tokio::spawn(async move {
            // It could be opened before, with the same settings.
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

fn connect(client: &Client, settings: &ConnectionManagerConfig) -> RedisResult<ConnectionManager> {
    let manager = ConnectionManager::new_lazy_with_config(client.clone(), settings.clone())?;
    // The connection is made by whoever asks first; a reader would not have the time.
    let mut first = manager.clone();
    tokio::spawn(async move { first.send_packed_command(&redis::cmd("PING")).await });
    Ok(manager)
}
