//! Faults through PostgreSQL's own commands.

use std::path::Path;

use anyhow::{Context as _, ensure};
use devstack::psql;

use crate::world::World;

/// Makes PostgreSQL refuse devices' events as data (P0001). Without a small disk to fill, it also makes it
/// refuse all events as if the disk were full (53100): the services see the same SQLSTATE.
pub const REFUSE: &str = "CREATE TABLE refused (device_id text PRIMARY KEY);
    CREATE SEQUENCE refusals;
    CREATE TABLE disk (is_full boolean NOT NULL);
    INSERT INTO disk VALUES (false);
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF (SELECT is_full FROM disk) THEN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END IF;
      IF EXISTS (SELECT FROM refused WHERE device_id = NEW.device_id) THEN
        PERFORM nextval('refusals');
        RAISE EXCEPTION 'refused';
      END IF;
      RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()";

/// Moves a database that has no sessions yet to its own disk.
pub fn use_disk(server: &str, database: &str, disk: &Path) -> anyhow::Result<()> {
    let (_, name) = database.rsplit_once('/').context("a database without a name")?;
    psql(server, &format!("CREATE TABLESPACE small LOCATION '{}'", disk.display()))?;
    psql(server, &format!("ALTER DATABASE \"{name}\" SET TABLESPACE small")).map(drop)
}

pub(super) fn refuse(world: &World, devices: &[String]) -> anyhow::Result<()> {
    let rows: Vec<_> = devices.iter().map(|device| format!("('{device}')")).collect();
    tell(world, &format!("INSERT INTO refused VALUES {} ON CONFLICT DO NOTHING", rows.join(", ")))
}

/// The number of refusals. A sequence counts them, because it is not rolled back.
pub fn refusals(world: &World) -> anyhow::Result<usize> {
    Ok(psql(&world.scope.database_url, "SELECT last_value - 1 + is_called::int FROM refusals")?.parse()?)
}

/// Accepts these devices' events again.
pub(super) fn accept(world: &World, devices: &[String]) -> anyhow::Result<()> {
    let names: Vec<_> = devices.iter().map(|device| format!("'{device}'")).collect();
    tell(world, &format!("DELETE FROM refused WHERE device_id IN ({})", names.join(", ")))
}

/// Fills the disk, or frees it again; an error if a write then shows the opposite.
pub(super) fn fill_disk(world: &World, is_full: bool) -> anyhow::Result<()> {
    // After a failover the tables are on another disk.
    let Some(disk) = world.disk.as_ref().filter(|_| !world.has_failed_over()) else {
        return tell(world, &format!("UPDATE disk SET is_full = {is_full}"));
    };
    if is_full {
        disk.fill()?
    } else {
        disk.clear()?
    }
    let written = tell(world, "BEGIN; CREATE TABLE room AS SELECT n FROM generate_series(1, 10000) AS n; ROLLBACK");
    match written {
        Ok(()) => ensure!(!is_full, "there is room on a full disk"),
        Err(error) if is_full => ensure!(error.to_string().contains("No space left"), "{error}"),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Makes every transaction that begins from now on read-only, also in open sessions, or undoes that. An
/// error if a new session shows the opposite.
pub(super) fn read_only(world: &World, on: bool) -> anyhow::Result<()> {
    let value = if on { "SET default_transaction_read_only = on" } else { "RESET default_transaction_read_only" };
    tell(world, &format!("ALTER SYSTEM {value}"))?;
    tell(world, "SELECT pg_reload_conf()")?;
    let is_on = psql(&world.scope.database_url, "SHOW default_transaction_read_only")?;
    ensure!((is_on == "on") == on, "default_transaction_read_only is {is_on}");
    Ok(())
}

fn tell(world: &World, statement: &str) -> anyhow::Result<()> {
    psql(&world.scope.database_url, statement).map(drop)
}
