//! A connection in use, directly or through a pooler in transaction mode.
//!
//! With such a pooler each transaction may use another server connection. So nothing may outlive its transaction: every
//! piece of work is one transaction, its limits are set within it, and its prepared statements have no names.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{AssertSqlSafe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};

use super::failure::{Failure, IS_A_STANDBY, IS_READ_ONLY};
use crate::store::Pooler;

/// Divides by zero on a standby, and takes the logarithm of zero on another read-only server. A pooler may lead to one
/// at any time, and `takes_writes` is checked only when a connection opens. An error aborts the whole message, so this
/// needs no extra round trip to check a result.
const ON_A_PRIMARY: &str =
    "SELECT 1 / (1 - pg_is_in_recovery()::int), ln(1 - (current_setting('transaction_read_only') = 'on')::int)";
const DIVISION_BY_ZERO: &str = "22012";
const LOGARITHM_OF_ZERO: &str = "2201E";

/// The settings of each session: set at connect, or behind a pooler in each transaction.
pub(super) const fn limits(server_side: &str) -> [(&'static str, &str); 4] {
    [
        ("statement_timeout", server_side),
        ("lock_timeout", server_side),
        ("idle_in_transaction_session_timeout", server_side),
        // A Kafka offset is committed after the commit here, which must survive a crash, whatever the default of the
        // server, the database or the role is.
        ("synchronous_commit", "on"),
    ]
}

/// The isolation level that the store's statements need, whatever the default of the server, the database or the role
/// is: a batch that waited for another transaction's rows continues with their new values. A stricter level would fail
/// instead.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The same for a statement outside a transaction block. Behind a pooler there are none.
pub(super) const ISOLATION: [(&str, &str); 1] = [("default_transaction_isolation", "read committed")];

/// How a piece of work begins.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pooler: Pooler,
    /// The statements at the beginning of each transaction behind a pooler.
    always: String,
    /// The address of PostgreSQL or the pooler.
    pub(crate) server: String,
}

impl Begin {
    pub(super) fn new(pooler: Pooler, server_side: &str, server: String) -> Self {
        let limits = limits(server_side).map(|(name, value)| format!("SET LOCAL {name} = '{value}'"));
        Self { pooler, always: [&limits[..], &[ON_A_PRIMARY.to_owned()]].concat().join("; "), server }
    }

    /// The first message of the work, one round trip: `first` is the first statement of its transaction; without it,
    /// the work needs no transaction.
    fn message(&self, first: Option<&str>) -> Option<String> {
        match (self.pooler, first) {
            (Pooler::None, None) => None,
            (Pooler::None, Some(first)) => Some(format!("{BEGIN}; {first}")),
            (Pooler::Transaction, None) => Some(format!("{BEGIN}; {}", self.always)),
            (Pooler::Transaction, Some(first)) => Some(format!("{BEGIN}; {}; {first}", self.always)),
        }
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooler == Pooler::Transaction
    }
}

/// A connection in use. It does not expose the `PgConnection`, so that every query goes through it.
#[derive(Debug)]
pub struct Tx<'a> {
    connection: &'a mut PgConnection,
    /// True while a transaction is open, or if that is unknown.
    open: &'a mut bool,
    named: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(connection: &'a mut PgConnection, open: &'a mut bool, begin: &Begin) -> Self {
        Self { connection, open, named: !begin.is_pooled() }
    }

    /// A direct connection without a pooler and without a transaction.
    pub(super) fn direct(connection: &'a mut PgConnection, open: &'a mut bool) -> Self {
        Self { connection, open, named: true }
    }

    /// Begins the work, with a transaction if it needs one.
    pub(crate) async fn begin(&mut self, begin: &Begin, first: Option<&str>) -> Result<(), Failure> {
        let Some(message) = begin.message(first) else { return Ok(()) };
        *self.open = true;
        let begun = sqlx::raw_sql(AssertSqlSafe(message)).execute(&mut *self.connection).await;
        begun.map(drop).map_err(|error| {
            let refusal = match error.as_database_error().and_then(|error| error.code()).as_deref() {
                Some(DIVISION_BY_ZERO) => Some(IS_A_STANDBY),
                Some(LOGARITHM_OF_ZERO) => Some(IS_READ_ONLY),
                _ => None,
            };
            let error = match refusal {
                Some(refusal) => Failure::away(refusal),
                None => Failure::before_begin(error),
            };
            error.of_server(&begin.server)
        })
    }

    /// Ends the work: commits its transaction, or rolls it back after a failure. After an outage the transaction stays
    /// open, and ends when the connection is closed.
    pub(crate) async fn end<T>(&mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if !*self.open {
            return outcome;
        }
        match &outcome {
            Ok(_) => {
                sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await?;
                *self.open = false;
            }
            Err(failure) if failure.class.is_outage() => {}
            Err(_) => *self.open = sqlx::raw_sql("ROLLBACK").execute(&mut *self.connection).await.is_err(),
        }
        outcome
    }
}

impl<'c> Executor<'c> for &'c mut Tx<'_> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let named = self.named;
        (&mut *self.connection).fetch_many(Statement { query, named })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let named = self.named;
        (&mut *self.connection).fetch_optional(Statement { query, named })
    }

    /// Behind a pooler a prepared statement cannot be kept. (No code here prepares one to keep it.)
    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        if self.named {
            return (&mut *self.connection).prepare_with(sql, parameters);
        }
        Box::pin(async { Err(sqlx::Error::Protocol("a pooler of transactions keeps no statement".to_owned())) })
    }
}

/// A query whose prepared statement has a name only if `named`. (sqlx names it even if its statement cache is off.)
struct Statement<E> {
    query: E,
    named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Statement<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.named && self.query.persistent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_pooler_all_work_is_a_transaction_with_its_limits() {
        let direct = Begin::new(Pooler::None, "4000ms", "h:1".to_owned());
        assert_eq!(direct.message(None), None, "one statement, of which each is a transaction");
        assert_eq!(direct.message(Some("LOCK TABLE t")).unwrap(), "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE t");
        assert_eq!(direct.message(Some("")).unwrap(), "BEGIN ISOLATION LEVEL READ COMMITTED; ", "nothing more");
        let pooled = Begin::new(Pooler::Transaction, "4000ms", "h:1".to_owned());
        for first in [None, Some("LOCK TABLE t")] {
            let message = pooled.message(first).unwrap();
            let mut statements = message.split("; ");
            assert_eq!(statements.next(), Some(BEGIN));
            for (name, value) in limits("4000ms") {
                assert_eq!(statements.next(), Some(format!("SET LOCAL {name} = '{value}'").as_str()));
            }
            assert_eq!((statements.next(), statements.next(), statements.next()), (Some(ON_A_PRIMARY), first, None));
        }
    }
}
