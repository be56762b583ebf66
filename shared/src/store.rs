//! PostgreSQL: connections, deadlines, transactions, migrations, and the classification of errors. The queries are in
//! the domains.

mod bodies;
mod classify;
mod config;
mod connect;
mod distribute;
pub(crate) mod expire;
mod failure;
pub mod idempotency;
mod idle;
mod in_use;
pub mod inbox;
mod indexes;
mod journal;
mod once;
pub mod outbox;
mod paused_partitions;
mod schema;
mod session;
mod transact;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres};
use tokio::sync::Semaphore;

pub use bodies::Loaded;
pub use config::{Pooler, PostgresConfig};
pub use distribute::{Colocated, Distributed};
pub use failure::{Class, Failure};
pub use indexes::{Index, Indexes};
pub use journal::{EventName, Journal};
pub use once::Once;
pub use session::Tx;
pub use transact::Work;

use self::connect::{Diagnosis, takes_writes};
use self::idle::Idle;
use self::in_use::Use;
use self::session::Begin;
use crate::runtime::config::authorities;

/// The database, through a pool of connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    pub(crate) timeout: Duration,
    diagnosis: Diagnosis,
    pub(crate) begin: Begin,
    /// The permit to finish a connection attempt after its caller timed out.
    unwaited: Arc<Semaphore>,
}

/// The timeout for a connection, at most: if the server is down, a reader should fail early.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

impl Store {
    /// A store that connects on first use. The error for an invalid `DATABASE_URL` does not contain the URL.
    pub fn open(config: &PostgresConfig, application: &str) -> anyhow::Result<Self> {
        let timeout = config.timeout;
        let options: PgConnectOptions =
            config.url.expose().parse().ok().context("DATABASE_URL is not a PostgreSQL URL")?;
        check_tls(config, &options)?;
        // The server's timeout is shorter than the client's, so that a frozen client does not hold locks that its
        // successor needs.
        let server_side = format!("{}ms", timeout.as_millis().saturating_sub(timeout.as_millis() / 5).max(1));
        let options = options.application_name(application);
        let options = match config.pooler {
            Pooler::None => options.options(session::limits(&server_side)).options(session::ISOLATION),
            // A pooler refuses startup options, because it cannot set them for each transaction.
            Pooler::Transaction => {
                ensure!(
                    options.get_options().is_none(),
                    "DATABASE_POOLER=transaction cannot have options, in DATABASE_URL or PGOPTIONS: a pooler refuses them"
                );
                options.extra_float_digits(None).statement_cache_capacity(0)
            }
        };
        let idle = Idle::default();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(timeout)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(takes_writes(connection)))
            .before_acquire(move |connection, meta| {
                let idle = idle.clone();
                Box::pin(async move { idle.check(connection, meta.age, meta.idle_for).await })
            })
            .connect_lazy_with(options.clone());
        let diagnosis = Diagnosis::new(options);
        let begin = Begin::new(config.pooler, &server_side, diagnosis.server());
        Ok(Self { pool, timeout, diagnosis, begin, unwaited: Arc::new(Semaphore::new(1)) })
    }

    /// Waits until every connection is closed.
    pub async fn close(&self) {
        // A frozen server does not answer the termination message.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.pool.close()).await;
    }

    /// The address of PostgreSQL, for messages: `host:port`, or its socket.
    pub fn server(&self) -> String {
        self.diagnosis.server()
    }

    pub(crate) async fn acquire(&self) -> Result<PooledConnection, Failure> {
        let mut acquiring = Box::pin(self.pool.acquire());
        let acquired = match tokio::time::timeout(self.timeout.min(ACQUIRE_TIMEOUT), &mut acquiring).await {
            Ok(acquired) => acquired,
            Err(_) => {
                // With a slow server, finish the attempt in the background, so that the next caller finds a connection:
                // restarting each time would never succeed. Only one at a time, because it keeps a place in the pool's
                // queue.
                if let Ok(permit) = Arc::clone(&self.unwaited).try_acquire_owned() {
                    tokio::spawn(async move {
                        drop(acquiring.await);
                        drop(permit);
                    });
                }
                Err(sqlx::Error::PoolTimedOut)
            }
        };
        match acquired {
            Ok(connection) => {
                let _in_use = self.diagnosis.in_use.begin();
                Ok(PooledConnection { connection, open: false, timeout: self.timeout, _in_use })
            }
            Err(error) => Err(self.diagnosis.explain(error).await),
        }
    }

    /// Converts the outcome of work on a connection. After a timeout, or if the connection's state is unknown, the
    /// connection is closed: a late answer must not be taken for the answer to another query.
    pub(crate) fn settle<T>(
        &self,
        mut pooled: PooledConnection,
        outcome: Result<Result<T, Failure>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        let result = outcome.unwrap_or_else(|_| Err(Failure::outage(format!("no answer within {:?}", self.timeout))));
        pooled.open |= result.as_ref().is_err_and(|failure| failure.class.is_outage());
        match result {
            Err(error) if error.class == Class::OutageMet => Err(error.of_server(&self.begin.server)),
            result => result,
        }
    }
}

/// Rejects TLS settings that would fail only at the first connection, or would be ignored silently.
fn check_tls(config: &PostgresConfig, options: &PgConnectOptions) -> anyhow::Result<()> {
    let url = options.to_url_lossy();
    let Some((_, trusted)) = url.query_pairs().find(|(name, _)| name == "sslrootcert") else { return Ok(()) };
    authorities("sslrootcert", trusted.strip_prefix("file: ").unwrap_or(&trusted))?;
    // libpq verifies the certificate if sslrootcert is set; sqlx does so only with verify-ca and verify-full.
    let verifies = url.query_pairs().any(|(name, mode)| name == "sslmode" && mode.starts_with("verify-"));
    ensure!(
        verifies || !config.url.expose().contains("sslrootcert="),
        "DATABASE_URL has sslrootcert, and no sslmode that verifies anything: add sslmode=verify-full"
    );
    Ok(())
}

/// A connection of the pool, borrowed for one piece of work.
pub(crate) struct PooledConnection {
    connection: PoolConnection<Postgres>,
    /// Whether a transaction is open on it, or its state is unknown.
    open: bool,
    timeout: Duration,
    _in_use: Use,
}

impl PooledConnection {
    pub(crate) fn session(&mut self, begin: &Begin) -> Tx<'_> {
        Tx::new(&mut self.connection, &mut self.open, begin)
    }
}

impl Drop for PooledConnection {
    /// The pool pings a connection before it takes it back, and has no timeout for the answer; until then a place in
    /// the pool is lost. So the return has the store's timeout too.
    fn drop(&mut self) {
        let return_to_pool = self.connection.return_to_pool();
        // After a panic, or if the transaction's end was not awaited, the state of the connection is unknown.
        if self.open || std::thread::panicking() {
            // Dropping the future closes the socket at once, without a termination message.
            drop(return_to_pool);
        } else {
            tokio::spawn(tokio::time::timeout(self.timeout, return_to_pool));
        }
    }
}

/// Runs an expression that uses a session, within the store's timeout: one statement, or several without a common
/// transaction. With `$first`, it runs in one transaction that begins with this statement.
macro_rules! within_deadline {
    ($store:expr, |$session:ident| $work:expr) => {
        $crate::store::within_deadline!($store, None, |$session| $work)
    };
    ($store:expr, $first:expr, |$session:ident| $work:expr) => {{
        let mut pooled = $store.acquire().await?;
        let outcome = tokio::time::timeout($store.timeout, async {
            let mut session = pooled.session(&$store.begin);
            session.begin(&$store.begin, $first).await?;
            let outcome = {
                let $session = &mut session;
                $work.await
            };
            session.end(outcome).await
        })
        .await;
        $store.settle(pooled, outcome)
    }};
}
pub(crate) use within_deadline;

/// The values of a column, one for each element, for `unnest`.
macro_rules! column {
    ($all:expr, |$one:pat_param| $value:expr) => {
        $all.iter().map(|$one| $value).collect::<Vec<_>>()
    };
}
pub(crate) use column;
