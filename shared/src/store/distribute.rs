//! Distributes tables over the nodes of a cluster, with Citus.
//!
//! The statements of a domain do not change: each names the column by which its tables are distributed, so that it runs
//! on the nodes that have its rows.

use anyhow::{Context as _, bail, ensure};
use sqlx::PgConnection;

use super::Store;

/// A table that can be distributed.
#[derive(Debug, Clone, Copy)]
pub struct Distributed {
    /// Its name.
    pub table: &'static str,
    /// The column that decides on which node a row is. Each unique index of the table has it.
    pub column: &'static str,
}

/// Tables whose rows with the same value of their columns are on the same node; the columns have one type.
pub type Colocated = &'static [Distributed];

const EXTENSION: &str = "
SELECT current_database()::text, EXISTS (SELECT FROM pg_extension WHERE extname = 'citus'),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citus')";
const COLUMN: &str = "
SELECT column_to_column_name(logicalrelid, partkey) FROM pg_dist_partition WHERE logicalrelid = $1::text::regclass";
const DISTRIBUTE: &str = "SELECT create_distributed_table($1::text::regclass, $2, colocate_with => $3)";
/// The rows have been copied to the nodes. The originals would only take space.
const TRUNCATE: &str = "SELECT truncate_local_data_after_distributing_table($1::text::regclass)";
/// No timeout: the rows are copied.
const WITHOUT_LIMIT: &str = "SET statement_timeout = 0";

impl Store {
    /// Distributes these tables, with their rows, for which writers wait. Tables that are distributed already stay as
    /// they are. Call it after [`Store::migrate`].
    pub async fn distribute(&self, groups: &[Colocated]) -> anyhow::Result<()> {
        let mut connection = match self.pool.acquire().await {
            Ok(connection) => connection.detach(),
            Err(error) => return Err(self.diagnosis.explain(error).await.into()),
        };
        ensure_extension(&mut connection).await?;
        sqlx::query(WITHOUT_LIMIT).execute(&mut connection).await?;
        for group in groups {
            let mut beside = "none";
            for one in *group {
                distribute(&mut connection, one, beside)
                    .await
                    .with_context(|| format!("cannot distribute the table {}", one.table))?;
                beside = one.table;
            }
        }
        sqlx::Connection::close(connection).await?;
        Ok(())
    }
}

async fn ensure_extension(connection: &mut PgConnection) -> anyhow::Result<()> {
    let (database, is_made, is_there): (String, bool, bool) = sqlx::query_as(EXTENSION).fetch_one(connection).await?;
    match (is_made, is_there) {
        (true, _) => Ok(()),
        (false, true) => bail!(
            "nothing was distributed: the database {database} does not have the extension citus. Run `CREATE EXTENSION \
             citus` in it, on the coordinator and on each worker node, add the nodes with `citus_add_node`, and repeat \
             this command"
        ),
        (false, false) => bail!(
            "nothing was distributed: the server of the database {database} does not have the extension citus, which \
             `--distribute` needs. DATABASE_URL has to be that of a Citus cluster's coordinator"
        ),
    }
}

async fn distribute(connection: &mut PgConnection, one: &Distributed, beside: &str) -> anyhow::Result<()> {
    let Distributed { table, column } = one;
    let found: Option<Option<String>> = sqlx::query_scalar(COLUMN).bind(table).fetch_optional(&mut *connection).await?;
    if let Some(found) = found {
        ensure!(
            found.as_deref() == Some(column),
            "it is distributed by {}, and must be by {column}: undistribute it (`SELECT undistribute_table('{table}')`), \
             and repeat this command",
            found.as_deref().unwrap_or("no column")
        );
        tracing::info!(table, column, "the table is distributed already");
        return Ok(());
    }
    tracing::info!(table, column, "distributing the table: its writers wait until its rows are copied");
    sqlx::query(DISTRIBUTE).bind(table).bind(column).bind(beside).execute(&mut *connection).await?;
    sqlx::query(TRUNCATE).bind(table).execute(connection).await?;
    Ok(())
}
