//! The lock that brings the events of an aggregate into an order.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::store::{Failure, Tx};

/// An update would leave a dead row for each command; so only the first command of an aggregate writes here.
const LOCK: &str = "SELECT last FROM sequences WHERE aggregate = $1 FOR NO KEY UPDATE";
const MAKE: &str = "
INSERT INTO sequences (aggregate, last) VALUES ($1, 0)
ON CONFLICT (aggregate) DO UPDATE SET last = sequences.last RETURNING last";

/// Locks all of them or none, so that two transactions lock in the same order. A row is never deleted.
const LOCK_ALL: &str = "
SELECT aggregate, last FROM sequences
WHERE aggregate = ANY($1) AND (SELECT count(*) FROM sequences WHERE aggregate = ANY($1)) = cardinality($1)
ORDER BY aggregate FOR NO KEY UPDATE";
const MAKE_ALL: &str = r#"
INSERT INTO sequences (aggregate, last)
SELECT aggregate, 0 FROM unnest($1::text[]) AS all_of_them (aggregate) ORDER BY aggregate COLLATE "C"
ON CONFLICT (aggregate) DO UPDATE SET last = sequences.last RETURNING aggregate, last"#;

/// An aggregate whose events are in order: locked until the transaction ends. A transaction that needs several locks
/// them in one call of [`Boundary::lock_all`]. Rows of the aggregate itself are locked after it.
#[derive(Debug)]
pub struct Boundary {
    aggregate: Arc<str>,
    pub(super) last: i64,
    pub(super) taken: i64,
}

impl Boundary {
    /// Locks an aggregate. Waits for a transaction that has it.
    pub async fn lock(tx: &mut Tx<'_>, aggregate: &str) -> Result<Self, Failure> {
        let found: Option<i64> = sqlx::query_scalar(LOCK).bind(aggregate).fetch_optional(&mut *tx).await?;
        let last = match found {
            Some(last) => last,
            None => sqlx::query_scalar(MAKE).bind(aggregate).fetch_one(tx).await?,
        };
        Ok(Self::at(aggregate.into(), last))
    }

    /// Locks several, in the order of their names. Returns them in that order.
    pub async fn lock_all(tx: &mut Tx<'_>, aggregates: &BTreeSet<Arc<str>>) -> Result<Vec<Self>, Failure> {
        let names: Vec<&str> = aggregates.iter().map(|name| &**name).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows: Vec<(String, i64)> = sqlx::query_as(LOCK_ALL).bind(&names).fetch_all(&mut *tx).await?;
        if rows.is_empty() {
            rows = sqlx::query_as(MAKE_ALL).bind(&names).fetch_all(tx).await?;
        }
        rows.sort_unstable();
        if rows.len() != names.len() {
            return Err(Failure::failed("a boundary that was just made is not there"));
        }
        Ok(rows.into_iter().map(|(name, last)| Self::at(name.into(), last)).collect())
    }

    fn at(aggregate: Arc<str>, last: i64) -> Self {
        Self { aggregate, last, taken: last }
    }

    /// Its name, which is the key of its records.
    pub fn aggregate(&self) -> &Arc<str> {
        &self.aggregate
    }

    /// The last number that has been taken; 0: none.
    pub fn last_number(&self) -> i64 {
        self.taken
    }

    /// The next number. An event with it must be published in this transaction. There is none behind the greatest one:
    /// that is repeated here, and [`publish`](super::publish) refuses it.
    pub fn next_number(&mut self) -> i64 {
        self.taken = self.taken.saturating_add(1);
        self.taken
    }
}
