//! Wakes the relay after a commit, so that it need not ask often.
//!
//! A `NOTIFY` takes a lock of the whole server until its transaction has committed. So no command contains it: a
//! process rings for all its commands, at most every 20 ms, on a connection of its own. A lost ring costs at most the
//! second until the relay asks by itself.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use crate::store::{Failure, Store, within_deadline};

/// The least time between two rings.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait after PostgreSQL did not take a ring: it is away, and the relay asks by itself.
const PAUSE: Duration = Duration::from_secs(1);
const CHANNEL: &str = "outbox";

/// Rings after commands have committed; cloning shares it.
#[derive(Debug, Clone)]
pub struct Doorbell {
    store: Store,
    rung: Arc<Notify>,
}

impl Doorbell {
    /// A doorbell of this database. Nothing is sent until [`Self::run`] runs.
    pub fn new(store: Store) -> Self {
        Self { store, rung: Arc::default() }
    }

    /// An event was committed.
    pub fn ring(&self) {
        self.rung.notify_one();
    }

    /// Sends the rings, forever.
    pub async fn run(&self) {
        loop {
            self.rung.notified().await;
            let pause = match self.notify().await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "the relay was not woken: it asks by itself within a second");
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn notify(&self) -> Result<(), Failure> {
        let query = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL);
        within_deadline!(self.store, |session| async { Ok(query.execute(session).await.map(drop)?) })
    }
}

/// Hears the rings of all processes.
pub struct Bell(PgListener);

impl Store {
    /// Listens for rings, on a connection of this store. `None` behind a pooler in transaction mode, which has no
    /// sessions that could listen.
    pub async fn listen_outbox(&self) -> Result<Option<Bell>, Failure> {
        if self.begin.is_pooled() {
            return Ok(None);
        }
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Bell(listener)))
    }
}

impl Bell {
    /// Waits for the next ring. A lost connection is made again; what was rung meanwhile is lost.
    pub async fn rung(&mut self) -> Result<(), Failure> {
        self.0.recv().await.map(drop).map_err(Failure::from)
    }
}
