//! One Redis server: a connection that comes back by itself, and a breaker.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::Instant;

use super::breaker::Breaker;

/// The wait between two tries to connect.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than anybody waits: deadlines are set for each command, by its user.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// After what was sent went unacknowledged for so long, the connection is given up: a host that is
/// gone without a word would hold it for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// A server; cloning it shares the connection.
#[derive(Clone)]
pub(super) struct Node {
    /// `host:port`.
    name: Arc<str>,
    manager: ConnectionManager,
    breaker: Arc<Breaker>,
}

/// Why there is no answer to use.
#[derive(Debug)]
pub(super) enum Failure {
    /// Redis is well, and answered with this error.
    Answered(RedisError),
    /// It did not answer in time, cannot serve, or is known to be away.
    Away,
}

impl Failure {
    /// Whether Redis answered with an error of this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Answered(error) if error.code() == Some(code))
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answered(error) => error.into(),
            Failure::Away => anyhow::anyhow!("no answer from Redis"),
        }
    }
}

impl Node {
    /// A server that is connected to at once, in the background, and again by itself: so many times
    /// in a row, and from the start with the next question after that.
    pub(super) fn open(info: ConnectionInfo, tries: usize) -> RedisResult<Self> {
        let name = info.addr().to_string().into();
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED));
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(tries)
            .set_min_delay(RECONNECT)
            .set_max_delay(RECONNECT_MAX);
        let manager = ConnectionManager::new_lazy_with_config(Client::open(info)?, settings)?;
        // The first connection is made by whoever asks; a reader would not have the time.
        let mut first = manager.clone();
        tokio::spawn(async move { first.send_packed_command(&redis::cmd("PING")).await });
        Ok(Self { name, manager, breaker: Arc::default() })
    }

    /// `host:port`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its host alone.
    pub(super) fn host(&self) -> String {
        self.name.rsplit_once(':').map_or(&*self.name, |(host, _)| host).to_owned()
    }

    /// Whether it answers, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Whether a question could get through now.
    pub(super) fn may_be_asked(&self) -> bool {
        self.breaker.is_due()
    }

    /// One question, within the deadline, and not at all while the server is known to be away.
    pub(super) async fn ask(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        self.judged(until, command.query_async(&mut self.manager.clone())).await
    }

    /// The same for a key that is on its way to this server, as an `ASK` redirection wants it.
    pub(super) async fn ask_ahead(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let mut manager = self.manager.clone();
        let answer = async { both.query_async(&mut manager).await.map(|(answer,): (Value,)| answer) };
        self.judged(until, answer).await
    }

    /// One question, whatever is known of the server; its outcome says nothing about others.
    pub(super) async fn ask_anyway(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        match tokio::time::timeout_at(until, command.query_async(&mut self.manager.clone())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::Answered(error)),
            Err(_) => Err(Failure::Away),
        }
    }

    async fn judged(
        &self,
        until: Instant,
        question: impl Future<Output = RedisResult<Value>>,
    ) -> Result<Value, Failure> {
        if !self.breaker.allows() {
            return Err(Failure::Away);
        }
        match tokio::time::timeout_at(until, question).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                Ok(answer)
            }
            Ok(Err(error)) if is_well(&error) => {
                self.breaker.succeeded();
                Err(Failure::Answered(error))
            }
            Ok(Err(error)) => {
                self.away(&error.to_string());
                Err(Failure::Away)
            }
            Err(_) => {
                self.away("no answer in time");
                Err(Failure::Away)
            }
        }
    }

    fn away(&self, why: &str) {
        if self.breaker.failed() {
            tracing::warn!(node = &*self.name, error = why, "Redis is away: reads come from PostgreSQL");
        }
    }
}

/// Whether an error is an answer about this one command, from a server that is well.
fn is_well(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::NoScript | ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain
        ),
        // A key that is no string; no room left.
        _ => matches!(error.code(), Some("WRONGTYPE" | "OOM")),
    }
}
