//! Connections: the check that the server accepts writes, and the reason if there is no connection.
//!
//! If the server is down, the pool reports only a timeout. So this tries the server again with a separate connection;
//! the log and readiness show its answer.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor, PgConnection, Postgres, Row as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::failure::{Failure, IS_A_STANDBY, IS_READ_ONLY};
use super::in_use::InUse;

/// The timeout of the separate connection, in addition to the time already spent waiting for the pool.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// The error text of a pooler in transaction mode for session settings.
const REFUSED_SETTING: &str = "unsupported startup parameter";
/// How long the outcome is reused.
const BELIEVED: Duration = Duration::from_secs(1);

/// Rejects a server that accepts no writes, as libpq does with `target_session_attrs=read-write`. After a failover or a
/// switchover the host name may lead to one for a while: a standby, or the old primary, which is read-only. Its data
/// may be stale, and must be neither returned nor cached. The caller sets the timeout.
pub(super) async fn takes_writes<'c>(server: impl Executor<'c, Database = Postgres>) -> Result<(), sqlx::Error> {
    // A single message, so that a pooler sends it to one server.
    let question = sqlx::raw_sql("SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'");
    let answer = question.fetch_one(server).await?;
    match (answer.try_get(0)?, answer.try_get(1)?) {
        (true, _) => Err(sqlx::Error::Configuration(IS_A_STANDBY.into())),
        (false, true) => Err(sqlx::Error::Configuration(IS_READ_ONLY.into())),
        (false, false) => Ok(()),
    }
}

/// Finds out why the pool has no connection: the pool reports only a timeout, whatever the server answered.
#[derive(Debug, Clone)]
pub(super) struct Diagnosis {
    options: Arc<PgConnectOptions>,
    last: Arc<Mutex<Option<(Instant, String)>>>,
    pub(super) in_use: InUse,
}

impl Diagnosis {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options: Arc::new(options), last: Arc::default(), in_use: InUse::default() }
    }

    pub(super) fn server(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// The error of a pool without a connection, with the server's address and the reason.
    pub(super) async fn explain(&self, error: sqlx::Error) -> Failure {
        let error = match error {
            sqlx::Error::PoolTimedOut => Failure { reason: self.why().await, ..Failure::before_begin(error) },
            error => Failure::before_begin(error),
        };
        let mut reason = format!("no connection to PostgreSQL at {}: {}", self.server(), error.reason);
        if reason.contains(REFUSED_SETTING) {
            reason.push_str(": a pooler in transaction mode needs DATABASE_POOLER=transaction");
        }
        Failure { reason, ..error }
    }

    /// Makes one attempt at a time; concurrent callers share its result.
    async fn why(&self) -> String {
        let mut last = self.last.lock().await;
        if let Some((at, why)) = &*last
            && at.elapsed() < BELIEVED
        {
            return why.clone();
        }
        let look = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            takes_writes(&mut connection).await
        };
        let why = match timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(())) => self.in_use.told(),
            Ok(Err(error)) => Failure::from(error).reason,
            Err(_) => "no answer in time".to_owned(),
        };
        *last = Some((Instant::now(), why.clone()));
        why
    }
}
