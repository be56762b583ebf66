//! One Redis server: a connection that comes back by itself, and a breaker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Arg, Client, Cmd, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::Instant;

use super::breaker::Breaker;
use super::diagnosis;

/// The wait between two tries to connect.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than anybody waits: deadlines are set for each command, by its user.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// After what was sent went unacknowledged for so long, the connection is given up: a host that is
/// gone without a word would hold it for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// How often the log says that a server refuses writes: where some of them need none, it seems to get better again
/// and again.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// A server; cloning it shares the connection.
#[derive(Clone)]
pub(super) struct Node {
    /// `host:port`.
    name: Arc<str>,
    client: Arc<Client>,
    manager: ConnectionManager,
    breaker: Arc<Breaker>,
    /// Open while it serves reads and refuses writes.
    writes: Arc<Breaker>,
    /// When it was last told that it refuses writes, and in which words it does.
    told: Arc<Mutex<Option<Refusal>>>,
}

/// What a server said that refuses writes.
struct Refusal {
    /// When the log was told.
    told: Instant,
    words: Arc<str>,
}

/// Why there is no answer to use.
#[derive(Debug)]
pub(super) enum Failure {
    /// Redis is well, and answered with this error.
    Answered(RedisError),
    /// It did not answer in time, cannot serve, or is known to be away.
    Away,
    /// It is known to refuse writes, and was not asked. These were its words.
    Refuses(Arc<str>),
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
            Failure::Refuses(why) => anyhow::anyhow!("Redis refuses writes: {why}"),
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
        let client = Arc::new(Client::open(info)?);
        let manager = ConnectionManager::new_lazy_with_config((*client).clone(), settings)?;
        // The first connection is made by whoever asks; a reader would not have the time.
        let mut first = manager.clone();
        tokio::spawn(async move { first.send_packed_command(&redis::cmd("PING")).await });
        Ok(Self { name, client, manager, breaker: Arc::default(), writes: Arc::default(), told: Arc::default() })
    }

    /// `host:port`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its host alone.
    pub(super) fn host(&self) -> String {
        self.name.rsplit_once(':').map_or(&*self.name, |(host, _)| host).to_owned()
    }

    /// Whether it takes writes, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.breaker.is_closed() && self.writes.is_closed()
    }

    /// Whether a write could get through now.
    pub(super) fn may_be_asked(&self) -> bool {
        self.breaker.is_due() && self.writes.is_due()
    }

    /// One question, within the deadline, and not at all while the server is known to be away.
    pub(super) async fn ask(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        self.judged(command, until, self.query(command)).await
    }

    /// Asks, and once more where there was no connection: the server closes one that was idle for longer than its
    /// `timeout`, and only whoever uses it finds out. To do the same twice does no harm.
    async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        let mut manager = self.manager.clone();
        match command.query_async(&mut manager).await {
            Err(error) if error.is_connection_dropped() => command.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// The same for a key that is on its way to this server, as an `ASK` redirection wants it.
    pub(super) async fn ask_ahead(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let mut manager = self.manager.clone();
        let answer = async { both.query_async(&mut manager).await.map(|(answer,): (Value,)| answer) };
        self.judged(command, until, answer).await
    }

    /// Whether it answers, and if it does not, why.
    pub(super) async fn ping(&self, until: Instant) -> Result<(), String> {
        match self.ask_anyway(&redis::cmd("PING"), until).await {
            Ok(_) => Ok(()),
            Err(Failure::Answered(error)) if !error.is_io_error() => Err(error.to_string()),
            Err(_) => Err(diagnosis::of(&self.client).await.unwrap_or_else(|| "no answer in time".to_owned())),
        }
    }

    /// One question, whatever is known of the server; its outcome says nothing about others.
    pub(super) async fn ask_anyway(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        match tokio::time::timeout_at(until, self.query(command)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::Answered(error)),
            Err(_) => Err(Failure::Away),
        }
    }

    async fn judged(
        &self,
        command: &Cmd,
        until: Instant,
        question: impl Future<Output = RedisResult<Value>>,
    ) -> Result<Value, Failure> {
        let writes = !reads(command);
        if writes && !self.writes.allows() {
            let why = self.told().as_ref().map(|refusal| Arc::clone(&refusal.words));
            return Err(why.map_or(Failure::Away, Failure::Refuses));
        }
        if !self.breaker.allows() {
            return Err(Failure::Away);
        }
        match tokio::time::timeout_at(until, question).await {
            Ok(Ok(answer)) => {
                self.answered(writes);
                Ok(answer)
            }
            // Also of a script that it does not know: in full it is the same question, and must not find it closed.
            Ok(Err(error)) if is_well(&error) => {
                self.answered(writes);
                Err(Failure::Answered(error))
            }
            Ok(Err(error)) if error.code() == Some("MISCONF") => {
                self.breaker.succeeded();
                self.refuses_writes(&error);
                Err(Failure::Answered(error))
            }
            Ok(Err(error)) => {
                self.away(Some(error));
                Err(Failure::Away)
            }
            Err(_) => {
                self.away(None);
                Err(Failure::Away)
            }
        }
    }

    fn answered(&self, writes: bool) {
        self.breaker.succeeded();
        if writes {
            self.writes.succeeded();
        }
    }

    /// It cannot save, or so it says: what it holds it still serves.
    fn refuses_writes(&self, error: &RedisError) {
        // At once: a script that found nothing to write is no sign that it takes writes again.
        self.writes.trip();
        let mut told = self.told();
        let at = match &*told {
            Some(refusal) if refusal.told.elapsed() < TELL_AGAIN => refusal.told,
            _ => {
                tracing::warn!(
                    node = &*self.name,
                    %error,
                    "Redis refuses writes: nothing new is cached, and fences wait"
                );
                Instant::now()
            }
        };
        *told = Some(Refusal { told: at, words: error.to_string().into() });
    }

    fn told(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self, error: Option<RedisError>) {
        if !self.breaker.failed() {
            return;
        }
        let (client, name) = (Arc::clone(&self.client), Arc::clone(&self.name));
        // What a server says to a new connection nobody is told of who waits for that connection.
        tokio::spawn(async move {
            let said = match &error {
                Some(error) if !error.is_io_error() => None,
                _ => diagnosis::of(&client).await,
            };
            let met = || error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
            let error = said.unwrap_or_else(met);
            tracing::warn!(node = &*name, error, "Redis is away: reads come from PostgreSQL");
        });
    }
}

/// Whether a command changes nothing.
fn reads(command: &Cmd) -> bool {
    matches!(command.args_iter().next(), Some(Arg::Simple(b"GET" | b"MGET")))
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
