//! One Redis server: a circuit breaker, and what the server can do now, as its answers show.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{
    Cmd, ConnectionInfo, ErrorKind, FromRedisValue as _, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::time::Instant;

use super::breaker::breaker;
use super::classify::{self, Verdict, classify};
use super::commands::{Does, beginning, beginning_of, reading};
use super::connection::Connection;
use super::diagnosis::{self, Diagnosis, NO_ANSWER};
use super::effects::Effects;
pub(super) use super::failure::CommandFailure;
use super::refusals::Refusals;
use super::scripts;
use super::trouble::Trouble;
use crate::runtime::breaker::Breaker;

/// The least time between two reconnects because the server is a replica.
const LEAVE_REPLICA: Duration = Duration::from_millis(400);
/// If a server has not answered for this time, or has refused every command, a new connection may reach a working
/// server. Also the least time between two such connections.
const WRONG_FOR_LONG: Duration = Duration::from_secs(5);

/// The error for a cluster's node, which has only some of the keys.
const OF_CLUSTER: &str = "it is a node of a cluster, and REDIS_CLUSTER is false";

/// A server. Clones share the connection.
#[derive(Clone)]
pub(super) struct Node {
    /// `host:port`.
    name: Arc<str>,
    connection: Arc<Connection>,
    breaker: Arc<Breaker>,
    /// The log has reported that the server is away, but not yet the reason.
    reason_is_due: Arc<AtomicBool>,
    /// Open while the server answers reads and refuses writes.
    writes: Arc<Breaker>,
    refusals: Arc<Mutex<Refusals>>,
    /// For each kind of command: one kind may fail while the others succeed.
    fails: Arc<[Trouble; 3]>,
    /// A key that never exists. A replica may lag behind, but answers reads too. So each read is sent together with a
    /// DEL of this key, which changes nothing, and which a replica refuses. `None` in a cluster, whose replicas
    /// redirect to their primary by themselves.
    absent_key: Option<Arc<str>>,
    effects: &'static Effects,
}

impl Node {
    /// Connects at once, in the background, with `tries` attempts in a row.
    pub(super) fn open(
        info: ConnectionInfo,
        tries: usize,
        absent_key: Option<Arc<str>>,
        effects: &'static Effects,
    ) -> RedisResult<Self> {
        Ok(Self {
            name: info.addr().to_string().into(),
            connection: Arc::new(Connection::open(info, tries)?),
            breaker: Arc::new(breaker()),
            reason_is_due: Arc::default(),
            writes: Arc::new(breaker()),
            refusals: Arc::default(),
            fails: Arc::default(),
            absent_key,
            effects,
        })
    }

    /// Connects this core, too.
    pub(super) fn attend(&self) {
        self.connection.attend();
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn host(&self) -> String {
        self.name.rsplit_once(':').map_or(&*self.name, |(host, _)| host).to_owned()
    }

    /// Whether it accepts writes, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.breaker.is_closed() && self.writes.is_closed()
    }

    /// Whether a write could get through now.
    pub(super) fn may_be_asked(&self) -> bool {
        self.breaker.is_due() && self.writes.is_due()
    }

    /// Sends one command, within the deadline; fails at once while the breaker is open.
    pub(super) async fn ask(&self, command: &Cmd, until: Instant) -> Result<Value, CommandFailure> {
        match &self.absent_key {
            Some(absent_key) if Does::of(command) == Does::Reads => {
                self.judged(Does::Reads, until, async {
                    let answers = self.read(&reading(absent_key, [command.clone()])).await?;
                    answers.into_iter().next().unwrap_or(Value::Nil).extract_error()
                })
                .await
            }
            _ => self.judged(Does::of(command), until, self.connection.query(command)).await,
        }
    }

    /// The first bytes of each key's value, at most `bytes`; `None` if the key does not exist or is not a string. Only
    /// for a single server.
    pub(super) async fn ask_beginnings(
        &self,
        keys: &[impl AsRef<str>],
        bytes: usize,
        until: Instant,
    ) -> Result<Vec<Option<Bytes>>, CommandFailure> {
        let last = bytes.saturating_sub(1).to_string();
        let absent_key = self.absent_key.as_deref().unwrap_or_default();
        let all = reading(absent_key, keys.iter().map(|key| beginning_of(key.as_ref(), &last)));
        let question = async {
            let answers = self.read(&all).await?;
            answers.into_iter().map(beginning).collect()
        };
        self.judged(Does::Reads, until, question).await
    }

    /// Sends a pipeline of [`reading`]. An error about one of its commands is among the answers.
    async fn read(&self, all: &Pipeline) -> RedisResult<Vec<Value>> {
        let mut answers = self.connection.query_all(all, all.len()).await?.into_iter();
        if let Some(Value::ServerError(error)) = answers.next() {
            let error = RedisError::from(error);
            // A server that cannot save refuses it too, but its values are still right.
            if classify(&error) != Verdict::Writes {
                return Err(error);
            }
        }
        Ok(answers.collect())
    }

    /// The same for a key that is being moved to this server, as an `ASK` redirection requires.
    pub(super) async fn ask_ahead(&self, command: &Cmd, until: Instant) -> Result<Value, CommandFailure> {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let answer = async {
            let answers = self.connection.query_all(&both, 2).await?;
            answers.into_iter().nth(1).unwrap_or(Value::Nil).extract_error()
        };
        self.judged(Does::of(command), until, answer).await
    }

    /// Whether it answers and executes commands; if not, why.
    pub(super) async fn ping(&self, until: Instant) -> Result<(), String> {
        match self.ask_anyway(&redis::cmd("PING"), until).await {
            Ok(_) => {}
            Err(CommandFailure::Answered(error)) if !error.is_io_error() => return Err(error.to_string()),
            Err(_) => return Err(self.diagnosis().await.words()),
        }
        if let Some(absent_key) = &self.absent_key {
            if self.is_of_cluster(until).await {
                return Err(OF_CLUSTER.to_owned());
            }
            for command in [redis::cmd("DEL").arg(&**absent_key).to_owned(), scripts::role().key(absent_key).in_full()]
            {
                match self.ask_anyway(&command, until).await {
                    Ok(_) => {}
                    Err(CommandFailure::Answered(error)) => {
                        // There may be no other command that finds this out.
                        let is_replica = classify(&error) == Verdict::Replica;
                        self.connection.renew(if is_replica { LEAVE_REPLICA } else { WRONG_FOR_LONG });
                        return Err(error.to_string());
                    }
                    Err(_) => return Err(NO_ANSWER.to_owned()),
                }
            }
        }
        self.refusals.lock().recent(Instant::now()).map_or(Ok(()), |why| Err(why.to_string()))
    }

    /// Finds the reason on a new connection. If the server answers there, the connection in use is dead: it may lead to
    /// a process that hangs, while its kernel still acknowledges packets. Then it is renewed.
    pub(super) async fn diagnosis(&self) -> Diagnosis {
        let found = diagnosis::of(&self.connection.client).await;
        if found == Diagnosis::Answers {
            self.connection.renew(WRONG_FOR_LONG);
        }
        found
    }

    /// Whether `INFO` shows a cluster. Not every user has the permission to run it; then false.
    async fn is_of_cluster(&self, until: Instant) -> bool {
        let answer = self.ask_anyway(redis::cmd("INFO").arg("cluster"), until).await;
        let text = answer.ok().and_then(|answer| String::from_redis_value(answer).ok());
        text.is_some_and(|text| text.contains("cluster_enabled:1"))
    }

    /// Whether a cluster's node answered, though `REDIS_CLUSTER` is false.
    fn is_misled(&self, error: &RedisError) -> bool {
        use ServerErrorKind::{Ask, CrossSlot, Moved};
        self.absent_key.is_some() && matches!(error.kind(), ErrorKind::Server(Moved | Ask | CrossSlot))
    }

    /// Sends one command even if the breaker is open. The outcome does not change the breaker.
    pub(super) async fn ask_anyway(&self, command: &Cmd, until: Instant) -> Result<Value, CommandFailure> {
        match tokio::time::timeout_at(until, self.connection.query(command)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CommandFailure::Answered(error)),
            Err(_) => Err(CommandFailure::Away),
        }
    }

    async fn judged<T>(
        &self,
        does: Does,
        until: Instant,
        question: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, CommandFailure> {
        let writes = does != Does::Reads;
        if writes && !self.writes.allows() {
            let why = self.refusals.lock().last().map(Arc::clone);
            return Err(why.map_or(CommandFailure::Away, CommandFailure::Refuses));
        }
        if !self.breaker.allows() {
            return Err(CommandFailure::Away);
        }
        match tokio::time::timeout_at(until, question).await {
            Ok(Ok(answer)) => {
                self.answered(does);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.met(error, does)),
            Err(_) => {
                self.goes_wrong(does);
                self.away(None);
                Err(CommandFailure::Away)
            }
        }
    }

    /// A command failed. If that goes on, another connection may lead to a server that works.
    fn goes_wrong(&self, does: Does) {
        if self.trouble(does).failed() >= WRONG_FOR_LONG {
            self.connection.renew(WRONG_FOR_LONG);
        }
    }

    fn met(&self, error: RedisError, does: Does) -> CommandFailure {
        let writes = does != Does::Reads;
        let (verdict, is_misled) = (classify(&error), self.is_misled(&error));
        if verdict != Verdict::Well || is_misled {
            self.goes_wrong(does);
        }
        match verdict {
            // A node of a cluster has some of the keys, and serves those.
            _ if is_misled => {
                self.serves(writes);
                self.refused(&error);
            }
            // This includes NOSCRIPT: the script is then sent in full, and the breaker must not reject that.
            Verdict::Well => self.answered(does),
            // It executes other commands.
            Verdict::Command => {
                self.serves(writes);
                self.refused(&error);
            }
            Verdict::Writes if writes => {
                self.breaker.succeeded();
                // Open at once: the success of a script that wrote nothing does not show that writes work again.
                self.writes.trip();
                self.refused(&error);
                return CommandFailure::Refuses(error.to_string().into());
            }
            Verdict::Replica => {
                self.refused(&error);
                let was_closed = self.breaker.is_closed();
                self.breaker.trip();
                self.connection.renew(LEAVE_REPLICA);
                if was_closed {
                    tracing::warn!(
                        node = &*self.name,
                        %error,
                        "Redis is a replica now: reconnecting, {}", self.effects.replica
                    );
                }
                return CommandFailure::Away;
            }
            Verdict::Writes | Verdict::Away => {
                self.away(Some(error));
                return CommandFailure::Away;
            }
        }
        CommandFailure::Answered(error)
    }

    fn answered(&self, does: Does) {
        self.trouble(does).succeeded();
        self.serves(does != Does::Reads);
    }

    fn trouble(&self, does: Does) -> &Trouble {
        let [reads, deletes, stores] = &*self.fails;
        match does {
            Does::Reads => reads,
            Does::Deletes => deletes,
            Does::Stores => stores,
        }
    }

    /// The server is not away, whatever the outcome of this command.
    fn serves(&self, writes: bool) {
        self.breaker.succeeded();
        if writes {
            self.writes.succeeded();
        }
    }

    fn refused(&self, error: &RedisError) {
        classify::count(error);
        let misled = if self.is_misled(error) { format!(": {OF_CLUSTER}") } else { String::new() };
        let said = format!("{error}{misled}");
        let (mut refusals, now) = (self.refusals.lock(), Instant::now());
        refusals.add(&said, now);
        if classify(error) == Verdict::Replica || !refusals.is_to_be_told(&said, now) {
            return;
        }
        drop(refusals);
        tracing::warn!(node = &*self.name, error = said, "Redis refuses commands: {}", self.effects.refuses);
    }

    /// The server does not answer. The log reports this once, with the reason. If the reason was not found in time,
    /// each failing command looks for it again.
    fn away(&self, error: Option<RedisError>) {
        let is_new = self.breaker.failed();
        let is_looked_for_again = || !self.breaker.is_closed() && self.reason_is_due.swap(false, Ordering::Relaxed);
        if !is_new && !is_looked_for_again() {
            return;
        }
        let node = self.clone();
        // An error while connecting is not passed on to those who wait for the connection.
        tokio::spawn(async move {
            let found = match &error {
                Some(error) if !error.is_io_error() => Diagnosis::Reason(error.to_string()),
                _ => node.diagnosis().await,
            };
            node.reason_is_due.store(matches!(found, Diagnosis::Unknown(_)), Ordering::Relaxed);
            if !is_new && !matches!(found, Diagnosis::Reason(_)) {
                return;
            }
            let error = match (found, error) {
                (Diagnosis::Unknown(_) | Diagnosis::Answers, Some(met)) => met.to_string(),
                (found, _) => found.words(),
            };
            tracing::warn!(node = &*node.name, error, "Redis is away: {}", node.effects.away);
        });
    }
}
