//! Locks of campaigns: whoever holds one must stop no other campaign.

use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{Error, Postgres};

use crate::store::{Failure, Store, Tx};

/// For how long one campaign is waited for.
const TIMEOUT: Duration = Duration::from_secs(1);
/// `lock_not_available`: the timeout has passed.
const TIMED_OUT: &str = "55P03";

/// What to do about campaigns whose rows another transaction has locked. Those of workers end within milliseconds; one
/// that an operator left open does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfLocked {
    /// They are left out.
    Skip,
    /// Wait for a second. For one campaign alone: the wait for another one would delay it.
    Wait,
}

/// A statement that locks campaigns: with [`IfLocked::Skip`], and with [`IfLocked::Wait`].
pub(super) type Locking = [&'static str; 2];

macro_rules! locking {
    ($select:literal) => {
        [concat!($select, " FOR NO KEY UPDATE SKIP LOCKED"), concat!($select, " FOR NO KEY UPDATE")]
    };
}
pub(super) use locking;

impl IfLocked {
    pub(super) const fn of(self, [skip, wait]: Locking) -> &'static str {
        match self {
            Self::Skip => skip,
            Self::Wait => wait,
        }
    }

    /// The first statement of its transaction.
    pub(super) fn first(self, store: &Store) -> String {
        match self {
            Self::Skip => String::new(),
            Self::Wait => format!("SET LOCAL lock_timeout = {}", TIMEOUT.min(store.timeout / 2).as_millis().max(1)),
        }
    }
}

/// Locks campaigns, and returns those that it has. `None`: it waited in vain, and the transaction can do no more.
pub(super) async fn lock(
    tx: &mut Tx<'_>,
    query: QueryScalar<'_, Postgres, i64, PgArguments>,
) -> Result<Option<Vec<i64>>, Failure> {
    match query.fetch_all(tx).await {
        Ok(campaigns) => Ok(Some(campaigns)),
        Err(Error::Database(error)) if error.code().as_deref() == Some(TIMED_OUT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
