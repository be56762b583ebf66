//! A transaction in PostgreSQL that stays open for a while, past the services.

use std::thread::JoinHandle;
use std::time::Duration;

use devstack::psql;

use super::within;
use crate::world::World;

/// A transaction that is open until it ends.
pub(super) struct Held {
    url: String,
    /// What its statements begin with.
    mark: String,
    session: JoinHandle<anyhow::Result<String>>,
}

impl Held {
    /// Begins a transaction with these statements, and keeps it open for this time, unless it is ended before. The last
    /// of its statements must be an expression, whose value [`Self::value`] returns.
    pub(super) fn begin(world: &World, statements: &str, value: &str, most: Duration) -> Self {
        let (url, mark) = (world.scope.database_url.clone(), format!("/* held {:016x} */", fastrand::u64(..)));
        let all = format!(
            "{mark} BEGIN; {statements}; SELECT set_config('application_name', 'held ' || ({value}), false);
             SELECT pg_sleep({}); COMMIT",
            most.as_secs_f64()
        );
        let session = std::thread::spawn({
            let url = url.clone();
            move || psql(&url, &all)
        });
        Self { url, mark, session }
    }

    /// The value of its expression, once all of its statements are done; an error if that takes longer than this.
    pub(super) fn value(&self, timeout: Duration) -> anyhow::Result<String> {
        within(timeout, || {
            anyhow::ensure!(!self.session.is_finished(), "a transaction ended by itself");
            let value = self.ask("max(substr(application_name, 6))", "wait_event = 'PgSleep'")?;
            anyhow::ensure!(!value.is_empty(), "a transaction does not get what it waits for");
            Ok(value)
        })
    }

    fn ask(&self, what: &str, and: &str) -> anyhow::Result<String> {
        let mark = &self.mark;
        let query =
            format!("SELECT {what} FROM pg_stat_activity WHERE left(query, {}) = '{mark}' AND {and}", mark.len());
        psql(&self.url, &query)
    }

    /// Whether it is still open.
    pub(super) fn is_open(&self) -> bool {
        !self.session.is_finished()
    }

    /// Ends it, however that is possible.
    pub(super) fn end(self) {
        // Nothing is left of it if PostgreSQL is away.
        let _ = self.ask("pg_terminate_backend(pid)", "true");
        let _ = self.session.join();
    }
}
