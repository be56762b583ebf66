//! Transactions, for those who bring what is to be done in one.

use sqlx::Connection as _;

use super::{Failure, Store, Tx, within_deadline};

/// How a transaction begins that takes as long as it takes.
const WITHOUT_LIMIT: &str = "SET LOCAL statement_timeout = 0";
const SAVEPOINT: &str = "SAVEPOINT probe";
/// What would be checked on the commit is checked before it is taken back.
const TAKE_BACK: &str = "SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO SAVEPOINT probe";

/// What is done in one transaction. It may be done again: a transaction that failed has left nothing.
pub trait Work: Sync {
    /// What it comes to.
    type Output: Send;

    /// Does it. The transaction is begun before and committed behind it.
    fn run(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

impl Store {
    /// Does work in one transaction, within the deadline. It begins with a statement, in one message with `BEGIN`. If it
    /// fails, nothing has changed, or, where the connection was lost on the commit, all.
    pub async fn transact<W: Work>(&self, first: &str, work: &W) -> Result<W::Output, Failure> {
        within_deadline!(self, Some(first), |tx| work.run(tx))
    }

    /// Does work as [`Self::transact`] does, and takes it back: whether the same would succeed now.
    ///
    /// It commits. So it meets what everybody meets (a server that is read-only, a full disk, a missing right, a trigger
    /// that refuses all, a deadline), and on its commit too: what it wrote has gone to the log, so the commit waits for
    /// the disk and for a synchronous standby as any other does. It leaves no row.
    pub async fn probe<W: Work>(&self, first: &str, work: &W) -> Result<(), Failure> {
        within_deadline!(self, Some(first), |tx| async {
            sqlx::raw_sql(SAVEPOINT).execute(&mut *tx).await?;
            work.run(&mut *tx).await?;
            sqlx::raw_sql(TAKE_BACK).execute(&mut *tx).await?;
            Ok(())
        })
    }

    /// Does work in one transaction that takes as long as it takes, on a connection of its own.
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
