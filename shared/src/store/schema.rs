//! Migrations, and the check that this binary's schema version is in place.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlStr};

use super::connect::takes_writes;
use super::session::Tx;
use super::{Failure, Indexes, Store, indexes, within_deadline};

/// Each file of `migrations/` with its content, oldest first. Listed by hand, because `sqlx::migrate!` compiles the
/// PostgreSQL driver a second time, for the macro. A test compares the list with the folder.
const MIGRATIONS: [(&str, &str); 10] = [
    ("0001_events_and_resources.sql", include_str!("../../../migrations/0001_events_and_resources.sql")),
    ("0002_forgotten.sql", include_str!("../../../migrations/0002_forgotten.sql")),
    ("0003_events_by_append.sql", include_str!("../../../migrations/0003_events_by_append.sql")),
    ("0004_events_by_record.sql", include_str!("../../../migrations/0004_events_by_record.sql")),
    ("0005_events_expiry.sql", include_str!("../../../migrations/0005_events_expiry.sql")),
    ("0006_campaigns.sql", include_str!("../../../migrations/0006_campaigns.sql")),
    ("0007_unsure_impressions.sql", include_str!("../../../migrations/0007_unsure_impressions.sql")),
    ("0008_outbox.sql", include_str!("../../../migrations/0008_outbox.sql")),
    ("0009_videos.sql", include_str!("../../../migrations/0009_videos.sql")),
    ("0010_validations_end.sql", include_str!("../../../migrations/0010_validations_end.sql")),
];

/// Migrations that only create an index, and block writers meanwhile. The index is no longer needed, so in an existing
/// database they are recorded as applied without being run. Their files stay unchanged, because their checksums are in
/// every database.
const RETIRED: [i64; 1] = [3];
/// How long a migration waits for a lock. New writers queue behind it, so they wait at most this long.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '1s'";
/// The pause before the next attempt, during which writers continue.
const LOCK_PAUSE: Duration = Duration::from_secs(3);
/// The number of attempts. An operator has to find and end a transaction that holds a table for longer.
const LOCK_TRIES: u32 = 150;

/// The only encoding that can store every text of an event.
const ENCODING: &str = "UTF8";

impl Store {
    /// Migrates the schema to this binary's version, and makes the domains' indexes. It ignores migrations newer than the binary, so that a rollback
    /// can start. Only `worker-service setup` calls this. Fails for a database with an encoding other than UTF8.
    pub async fn migrate(&self, indexes: &[Indexes]) -> anyhow::Result<()> {
        ensure!(
            !self.begin.is_pooled(),
            "migrations need sessions of PostgreSQL, which DATABASE_POOLER=transaction does not have: give `setup` a \
             DATABASE_URL that connects to PostgreSQL directly, without DATABASE_POOLER"
        );
        let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().copied().map(migration).collect());
        migrator.set_ignore_missing(true);
        // A migration may take longer than any request, so it has no timeout.
        let mut connection = match self.pool.acquire().await {
            Ok(connection) => connection.detach(),
            Err(error) => match refused_login(&error) {
                Some(refusal) => return Err(refusal),
                None => return Err(self.diagnosis.explain(error).await.into()),
            },
        };
        ensure_encoding(&mut Tx::direct(&mut connection, &mut false)).await?;
        sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
        run(&migrator, &mut connection).await?;
        indexes::renew(&mut connection, indexes).await?;
        sqlx::Connection::close(connection).await?;
        Ok(())
    }

    /// Whether PostgreSQL answers, and its database has the encoding and the schema that this binary needs.
    pub async fn check(&self) -> Result<(), Failure> {
        let found = within_deadline!(self, |session| async {
            takes_writes(&mut *session).await?;
            ensure_encoding(session).await?;
            version(session).await
        })?;
        let needed = MIGRATIONS.iter().map(|(name, _)| version_of(name)).max().unwrap_or(0);
        if found < needed {
            return Err(Failure::away(format!(
                "the schema is at version {found}, and {needed} is needed: run `worker-service setup`"
            )));
        }
        Ok(())
    }
}

/// Rejects a database that cannot store every event. In a smaller encoding, events with missing characters would become
/// dead letters. `SQL_ASCII` has no character set, and rejects an escape in a payload with an SQLSTATE that looks like
/// an outage.
async fn ensure_encoding(session: &mut Tx<'_>) -> Result<(), Failure> {
    let (database, encoding): (String, String) =
        sqlx::query_as("SELECT current_database()::text, current_setting('server_encoding')")
            .fetch_one(session)
            .await?;
    if encoding == ENCODING {
        return Ok(());
    }
    Err(Failure::away(format!(
        "the encoding of the database {database} is {encoding}, and {ENCODING} is needed: an encoding never changes, \
         so create another database (CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0) and name it in \
         DATABASE_URL"
    )))
}

/// Runs the migrations. If a lock is not available soon, it retries later, so that writers do not queue behind a
/// migration that waits for a long transaction.
async fn run(migrator: &Migrator, connection: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query(LOCK_TIMEOUT).execute(&mut *connection).await?;
    for attempt in 1.. {
        match retire_and_run(migrator, connection).await {
            Err(error) if is_lock_timeout(&error) && attempt < LOCK_TRIES => {
                tracing::warn!(attempt, "a migration waits for a lock that another transaction holds");
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            outcome => return outcome.context("cannot migrate"),
        }
    }
    Ok(())
}

async fn retire_and_run(migrator: &Migrator, connection: &mut PgConnection) -> Result<(), MigrateError> {
    let found =
        version(&mut Tx::direct(connection, &mut false)).await.map_err(|error| MigrateError::Source(error.into()))?;
    for retired in RETIRED {
        // In a new database the table is empty and has no writers, so the migration can run.
        if 0 < found && found < retired {
            migrator.run_direct(Some(retired - 1), connection, false).await?;
            migrator.run_direct(Some(retired), connection, true).await?;
        }
    }
    migrator.run_direct(None, connection, false).await
}

/// Whether a lock timed out, including the lock that excludes a second setup.
fn is_lock_timeout(error: &MigrateError) -> bool {
    let (MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) = error else { return false };
    cause.as_database_error().and_then(|refusal| refusal.code()).as_deref() == Some("55P03")
}

/// The error for a refused login, with its most frequent cause on a developer's machine: an old data volume.
fn refused_login(error: &sqlx::Error) -> Option<anyhow::Error> {
    let refusal = error.as_database_error().filter(|refusal| {
        // 28P01: a wrong password, or an unknown user with password authentication. 28000: an unknown user. 3D000: an
        // unknown database.
        matches!(refusal.code().as_deref(), Some("28P01" | "28000" | "3D000"))
    })?;
    Some(anyhow::anyhow!(
        "PostgreSQL refuses the login in DATABASE_URL: {}. Under Docker Compose, a volume keeps the user, the \
         password and the database that it was created with: `docker compose down --volumes --remove-orphans` \
         deletes it, with its data, and the next `up` creates it anew",
        refusal.message()
    ))
}

/// Parses a file's name as `sqlx::migrate!` does: the version, `_`, and the description with `_` for spaces.
fn migration((name, sql): (&'static str, &'static str)) -> Migration {
    let description = name.trim_end_matches(".sql").split_once('_').map_or("", |(_, description)| description);
    let without_transaction = sql.starts_with("-- no-transaction");
    Migration::new(
        version_of(name),
        description.replace('_', " ").into(),
        MigrationType::Simple,
        SqlStr::from_static(sql),
        without_transaction,
    )
}

fn version_of(name: &str) -> i64 {
    name.split_once('_').and_then(|(version, _)| version.parse().ok()).unwrap_or(0)
}

async fn version(session: &mut Tx<'_>) -> Result<i64, Failure> {
    const IS_THERE: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    const VERSION: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
    if !sqlx::query_scalar(IS_THERE).fetch_one(&mut *session).await? {
        return Ok(0);
    }
    Ok(sqlx::query_scalar(VERSION).fetch_one(session).await?)
}

#[cfg(test)]
mod tests {
    use super::{MIGRATIONS, migration};

    #[test]
    fn every_file_of_the_folder_is_listed_once_in_order() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(MIGRATIONS.map(|(name, _)| name.to_owned()).to_vec(), files);
    }

    #[test]
    fn a_migration_has_the_version_and_the_description_of_its_file() {
        let versions: Vec<_> = MIGRATIONS.iter().copied().map(|file| migration(file).version).collect();
        assert_eq!(versions, (1..).take(MIGRATIONS.len()).collect::<Vec<_>>());
        assert_eq!(migration(MIGRATIONS[0]).description, "events and resources");
    }
}
