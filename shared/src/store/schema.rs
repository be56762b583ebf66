//! Migrations, and the check that the schema is the one this binary needs.

use sqlx::migrate::Migrator;
use sqlx::{PgConnection, Row};

use super::{Store, StoreError, within_deadline};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

impl Store {
    /// Brings the schema up to this binary's version; migrations newer than the binary are let be,
    /// so that a rollback starts. Only `worker-service setup` does this.
    ///
    /// # Errors
    /// PostgreSQL away, or a migration that fails.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let mut migrator = sqlx::migrate!("../migrations");
        migrator.set_ignore_missing(true);
        // A migration may take longer than any request: it has no deadline but the operator's.
        let mut connection = self.pool.acquire().await?.detach();
        sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
        sqlx::query("SET lock_timeout = 0").execute(&mut connection).await?;
        migrator.run_direct(None, &mut connection, false).await?;
        sqlx::Connection::close(connection).await?;
        Ok(())
    }

    /// Whether PostgreSQL answers and has the schema that this binary needs.
    ///
    /// # Errors
    /// That it does not answer, or what is missing.
    pub async fn check(&self) -> Result<(), StoreError> {
        let found = within_deadline!(self, |connection| version(connection))?;
        let needed = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
        if found < needed {
            return Err(StoreError {
                class: super::Class::Outage,
                message: format!(
                    "the schema is at version {found}, and {needed} is needed: run `worker-service setup`"
                ),
            });
        }
        Ok(())
    }
}

async fn version(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let there =
        sqlx::query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS there").fetch_one(&mut *connection).await?;
    if !there.try_get::<bool, _>("there")? {
        return Ok(0);
    }
    let row = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("version")?)
}
