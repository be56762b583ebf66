//! Indexes on large tables, created and dropped concurrently with writes.
//!
//! They are not migrations: `CREATE INDEX CONCURRENTLY` waits for older transactions, and a second setup that waits for
//! the migration lock would be one of them. Both would wait for each other.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgConnection;

use super::Failure;

/// The indexes of a domain's tables.
#[derive(Debug, Clone, Copy)]
pub struct Indexes {
    /// Those to create.
    pub needed: &'static [Index],
    /// The names of those of earlier versions, to drop.
    pub obsolete: &'static [&'static str],
}

/// An index of a table that may have many rows.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The statement that creates it, with `CONCURRENTLY` and `IF NOT EXISTS`.
    pub create: &'static str,
    /// What does not work without it.
    pub without: &'static str,
}

/// Only one of several setups creates them.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('setup.indexes', 0))";
/// No timeout: a table may be large, and a timeout would discard the work each time. Creating an index waits for all
/// older transactions, and does not block writers meanwhile.
const WITHOUT_LIMIT: &str = "SET statement_timeout = 0; SET lock_timeout = 0";

/// Creates the missing indexes, and drops the obsolete ones. A failed creation is an error.
pub(super) async fn renew(connection: &mut PgConnection, indexes: &[Indexes]) -> anyhow::Result<()> {
    for Index { name, create, without } in indexes.iter().flat_map(|all| all.needed) {
        make(connection, name, create).await.map_err(Failure::from).with_context(|| {
            format!(
                "the schema is up to date, but the index {name} could not be created, and without it {without}: \
                 remove the cause, and run `worker-service setup` again"
            )
        })?;
    }
    for name in indexes.iter().flat_map(|all| all.obsolete) {
        if let Err(error) = remove(connection, name).await {
            tracing::warn!(index = name, %error, "cannot drop the index; the next setup tries again");
        }
    }
    Ok(())
}

async fn make(connection: &mut PgConnection, name: &str, sql: &'static str) -> Result<(), sqlx::Error> {
    const VALID: &str = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    prepare(connection).await?;
    match sqlx::query_scalar::<_, bool>(VALID).bind(name).fetch_optional(&mut *connection).await? {
        Some(true) => return Ok(()),
        // Left behind by a setup that was interrupted.
        Some(false) => remove(connection, name).await?,
        None => {}
    }
    tracing::info!(index = name, "creating the index: this waits for older transactions, and nobody waits for it");
    sqlx::raw_sql(sql).execute(&mut *connection).await?;
    Ok(())
}

async fn remove(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    prepare(connection).await?;
    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut *connection).await?;
    Ok(())
}

async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Poll, and do not wait in the server: the setup that creates an index would wait for that waiting query.
    while !sqlx::query_scalar::<_, bool>(LOCK).fetch_one(&mut *connection).await? {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sqlx::raw_sql(WITHOUT_LIMIT).execute(&mut *connection).await?;
    Ok(())
}
