//! What PostgreSQL holds, and all the SQL there is.

mod applied;
mod apply;
mod classify;
mod connect;
mod expire;
mod forget;
mod history;
mod indexes;
mod outcomes;
mod pause;
mod read;
mod schema;

use std::time::Duration;

use anyhow::Context;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool, Postgres};

pub use applied::{Applied, Outcome, Processed};
pub use classify::{Class, StoreError};
pub use expire::{Age, Expired};
pub use forget::{Forgotten, TopicEnd};
pub use history::{Cursor, PAGE_BYTES, Page};
pub use read::Rendered;

use self::connect::{Diagnosis, leads_to_primary};
use crate::config::PostgresConfig;

/// The tables, through a pool of connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    timeout: Duration,
    diagnosis: Diagnosis,
}

/// How long to wait for a connection: with the server down, a reader wants to know soon.
const PATIENCE: Duration = Duration::from_secs(2);
/// A connection that was idle for longer is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

impl Store {
    /// A store that connects when it is first asked.
    ///
    /// # Errors
    /// `DATABASE_URL` is not one; the message does not repeat it.
    pub fn open(config: &PostgresConfig, application: &str) -> anyhow::Result<Self> {
        let timeout = config.timeout;
        let options: PgConnectOptions =
            config.url.expose().parse().ok().context("DATABASE_URL is not a PostgreSQL URL")?;
        // The server gives up first, so that a frozen client never holds what its successor needs.
        let server_side = format!("{}ms", timeout.as_millis().saturating_sub(timeout.as_millis() / 5).max(1));
        let options = options.application_name(application).options([
            ("statement_timeout", server_side.as_str()),
            ("lock_timeout", server_side.as_str()),
            ("idle_in_transaction_session_timeout", server_side.as_str()),
            // An offset is committed on the strength of a commit here, which must outlive a crash,
            // whatever the server, the database or the role has as its default.
            ("synchronous_commit", "on"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(timeout.min(PATIENCE))
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(leads_to_primary(connection)))
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE { connection.ping().await.map(|()| true) } else { Ok(true) }
                })
            })
            .connect_lazy_with(options.clone());
        Ok(Self { pool, timeout, diagnosis: Diagnosis::new(options) })
    }

    /// Waits until every connection is closed.
    pub async fn close(&self) {
        // A frozen server does not answer a farewell.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.pool.close()).await;
    }

    async fn acquire(&self) -> Result<Lent, StoreError> {
        match self.pool.acquire().await {
            Ok(connection) => Ok(Lent { connection, in_doubt: false, timeout: self.timeout }),
            Err(error) => Err(self.diagnosis.explain(error).await),
        }
    }

    /// Runs work on a connection within the deadline. Where it was missed, or the connection is in
    /// doubt, the connection is closed and never used again: an answer that comes late must not
    /// meet another question.
    fn settle<T>(
        &self,
        mut lent: Lent,
        outcome: Result<Result<T, StoreError>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        let result = outcome.unwrap_or_else(|_| Err(StoreError::deadline(self.timeout)));
        lent.in_doubt = matches!(&result, Err(StoreError { class: Class::Outage | Class::OutageMet, .. }));
        result
    }
}

/// A connection of the pool, lent for one piece of work.
struct Lent {
    connection: PoolConnection<Postgres>,
    in_doubt: bool,
    timeout: Duration,
}

impl Drop for Lent {
    /// The pool asks a connection whether it is well before it takes it back, and waits for the answer
    /// as long as the kernel does, a place in the pool gone meanwhile: that has the deadline too.
    fn drop(&mut self) {
        let return_to_pool = self.connection.return_to_pool();
        // A panic came in the middle of whatever was said on it.
        if self.in_doubt || std::thread::panicking() {
            // Never run, it closes the socket at once, without a farewell.
            drop(return_to_pool);
        } else {
            tokio::spawn(tokio::time::timeout(self.timeout, return_to_pool));
        }
    }
}

/// Runs an expression that uses a connection, within the store's deadline.
macro_rules! within_deadline {
    ($store:expr, |$connection:ident| $work:expr) => {{
        let mut lent = $store.acquire().await?;
        let outcome = {
            let $connection: &mut sqlx::PgConnection = &mut lent.connection;
            tokio::time::timeout($store.timeout, $work).await
        };
        $store.settle(lent, outcome)
    }};
}
use within_deadline;
