//! Runs work in a transaction.

use sqlx::Connection as _;

use super::{Failure, Store, Tx, within_deadline};

/// The first statement of a transaction without a timeout.
const WITHOUT_LIMIT: &str = "SET LOCAL statement_timeout = 0";
const SAVEPOINT: &str = "SAVEPOINT probe";
/// Deferred constraints are checked before the rollback.
const TAKE_BACK: &str = "SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO SAVEPOINT probe";

/// Work for one transaction. It may run again: a failed transaction leaves no changes.
pub trait Work: Sync {
    /// The result.
    type Output: Send;

    /// Does the work. The caller begins and commits the transaction.
    fn run(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

impl Store {
    /// Does the work in one transaction, within the store's timeout. `first` is its first statement, sent in one
    /// message with `BEGIN`. After a failure nothing has changed; but if the connection was lost during the commit, it
    /// may be committed.
    pub async fn transact<W: Work>(&self, first: &str, work: &W) -> Result<W::Output, Failure> {
        within_deadline!(self, Some(first), |tx| work.run(tx))
    }

    /// Does the work as [`Self::transact`] does, and rolls it back, to find out whether the same would succeed now.
    ///
    /// It rolls back to a savepoint and commits. So it meets the errors of all transactions (a read-only server, a full
    /// disk, a missing permission, a trigger that rejects everything, a timeout), including those of the commit: its
    /// writes are in the WAL, so the commit waits for the disk and for a synchronous standby. It leaves no row.
    pub async fn probe<W: Work>(&self, first: &str, work: &W) -> Result<(), Failure> {
        // Before the work's own savepoints, so that it cannot return to an earlier one.
        let first = format!("{SAVEPOINT}; {first}");
        within_deadline!(self, Some(first.as_str()), |tx| async {
            work.run(&mut *tx).await?;
            sqlx::raw_sql(TAKE_BACK).execute(&mut *tx).await?;
            Ok(())
        })
    }

    /// Does the work in one transaction without a timeout, on a separate connection.
    pub async fn transact_without_limit<W: Work>(&self, work: &W) -> Result<W::Output, Failure> {
        let mut connection = match self.pool.acquire().await {
            Ok(connection) => connection.detach(),
            Err(error) => return Err(self.diagnosis.explain(error).await),
        };
        let mut open = false;
        let mut tx = Tx::new(&mut connection, &mut open, &self.begin);
        let outcome = async {
            tx.begin(&self.begin, Some(WITHOUT_LIMIT)).await?;
            let outcome = work.run(&mut tx).await;
            tx.end(outcome).await
        };
        let outcome = outcome.await;
        let _ = connection.close().await;
        outcome
    }
}
