//! Indexes on tables that may be large: made, and dropped, while the tables are written to.
//!
//! They are no migrations, because the lock that keeps two setups apart would be waited for by the one and waited with
//! by the other.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgConnection;

use super::Failure;

/// What is made.
const INDEXES: [(&str, &str); 2] = [
    // By when a row was written, for the expiry. A batch's rows have one time, so that a row takes but some bytes.
    ("events_written", "CREATE INDEX CONCURRENTLY IF NOT EXISTS events_written ON events (recorded_at)"),
    // Rows of before migration 0004. Nothing is added any more.
    (
        "events_appended",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS events_appended ON events (appended_at) WHERE recorded_at IS NULL",
    ),
];
/// What the expiry of earlier versions used. A range of BRIN never gets narrower: once its pages were written anew it
/// fits every time. Whichever version is rolled back to finds the ones above.
const OBSOLETE: [&str; 3] = ["events_accepted_at", "events_appended_at", "events_recorded_at"];

/// Who makes them, of several setups.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('setup.indexes', 0))";
/// One takes as long as it takes: a table may be large, and what was made within a limit would be lost with it, each time
/// anew. It waits for every transaction that is older, for as long as there is one, and keeps no writer out meanwhile.
const WITHOUT_LIMIT: &str = "SET statement_timeout = 0; SET lock_timeout = 0";

/// Makes the indexes that are not there, and drops those of before. One that is not made is an error: all would work but
/// the expiry, and `events` would grow for ever.
pub(super) async fn renew(connection: &mut PgConnection) -> anyhow::Result<()> {
    for (name, sql) in INDEXES {
        make(connection, name, sql).await.map_err(Failure::from).with_context(|| {
            format!(
                "the schema is up to date, but the index {name} could not be created, and events do not expire \
                 without it: remove the cause, and run `worker-service setup` again"
            )
        })?;
    }
    for name in OBSOLETE {
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
        // Left behind by a setup that was ended in the middle of it.
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
    // Asked for, and not waited for in the server: whoever waits there is waited for by the one that makes it.
    while !sqlx::query_scalar::<_, bool>(LOCK).fetch_one(&mut *connection).await? {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sqlx::raw_sql(WITHOUT_LIMIT).execute(&mut *connection).await?;
    Ok(())
}
