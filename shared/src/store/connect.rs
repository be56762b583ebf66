//! Connections: where they have to lead, and why there is none.
//!
//! A pool whose server is away says only that it waited in vain. So the server is tried once more, by a connection of its
//! own, and its answer is what log and readiness show.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::classify::StoreError;
use super::session::IS_A_STANDBY;

/// How long each step of a look may take.
const STEP_TIMEOUT: Duration = Duration::from_millis(500);
/// What a pooler of transactions says of settings that a session is to have.
const REFUSED_SETTING: &str = "unsupported startup parameter";
/// For how long its outcome is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// Refuses a connection that leads to a standby. After a failover a name may do that for a while; what a standby has
/// lags behind, and must be neither shown nor cached. A primary that is set to read-only is up to date: who writes is
/// told so by it.
pub(super) async fn leads_to_primary(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // One message, which a pooler gives to one server.
    let question = sqlx::raw_sql("SELECT pg_is_in_recovery()").fetch_one(connection);
    let Ok(answer) = timeout(STEP_TIMEOUT, question).await else { return Err(sqlx::Error::PoolTimedOut) };
    match answer?.try_get(0)? {
        false => Ok(()),
        true => Err(sqlx::Error::Configuration(IS_A_STANDBY.into())),
    }
}

/// Finds out why the pool has no connection: it says nothing but that time is up, whatever the server said.
#[derive(Debug, Clone)]
pub(super) struct Diagnosis {
    options: Arc<PgConnectOptions>,
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Diagnosis {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options: Arc::new(options), last: Arc::default() }
    }

    /// The server: `host:port`, or its socket.
    pub(super) fn server(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// The error of a pool that gave no connection, with the server and what is wrong.
    pub(super) async fn explain(&self, error: sqlx::Error) -> StoreError {
        let error = match error {
            sqlx::Error::PoolTimedOut => StoreError { message: self.why().await, ..StoreError::before_begin(error) },
            error => StoreError::before_begin(error),
        };
        let mut message = format!("no connection to PostgreSQL at {}: {}", self.server(), error.message);
        if message.contains(REFUSED_SETTING) {
            message.push_str(": a pooler of transactions needs DATABASE_POOLER=transaction");
        }
        StoreError { message, ..error }
    }

    /// One look at a time, for all who ask meanwhile.
    async fn why(&self) -> String {
        let mut last = self.last.lock().await;
        if let Some((at, why)) = &*last
            && at.elapsed() < BELIEVED
        {
            return why.clone();
        }
        let why = match timeout(STEP_TIMEOUT, PgConnection::connect_with(&self.options)).await {
            Ok(Ok(mut connection)) => match leads_to_primary(&mut connection).await {
                Ok(()) => "it answers, but all of DATABASE_MAX_CONNECTIONS are in use".to_owned(),
                Err(error) => StoreError::from(error).message,
            },
            Ok(Err(error)) => StoreError::from(error).message,
            Err(_) => "no answer in time".to_owned(),
        };
        *last = Some((Instant::now(), why.clone()));
        why
    }
}
