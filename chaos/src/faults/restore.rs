//! PostgreSQL is restored to an earlier time: the tables of placements and of the outbox, as an operator would do it
//! (docs/operations.md). The tables of devices and of advertising stay, of which the same is tried elsewhere.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use devstack::psql;

use super::{Injection, end, until_done, within};
use crate::gather;
use crate::history::Span;
use crate::history::placements::Restored;
use crate::load::lock;
use crate::plan::{APIS, Fault};

/// Each is filled again after those that it refers to.
const TABLES: [&str; 11] = [
    "videos",
    "placements",
    "validations",
    "files",
    "replaced_files",
    "placement_campaigns",
    "sequences",
    "outbox",
    "outbox_relay",
    "inbox",
    "idempotency_keys",
];
const HANDLERS: [&str; 3] = ["read-model", "files", "validator"];
const SAVED: &str = "saved";
/// How far the groups go back: to before the run began. At the time of the copy they may have been behind by as long as
/// any of its faults lasts, and what is read twice is recognised.
const BEFORE: Duration = Duration::from_secs(5);
/// The timeout of one command of the worker.
const COMMAND: Duration = Duration::from_secs(90);
const WORKERS: usize = 2;

impl Injection<'_> {
    pub(super) fn restore_postgres(&self) -> anyhow::Result<()> {
        let world = self.world;
        let from = self.began.elapsed();
        let time = SystemTime::now() - from - BEFORE;
        let url = &world.scope.database_url;
        until_done(|| psql(url, &save()).map(drop))?;
        self.lasts();

        // Whoever takes several turns takes them in this order.
        let _turns = [Fault::StopKafka, Fault::StopPostgres, Fault::StopRedis].map(|fault| world.turn(fault));
        let closed = world.close_gate();
        let mut apis = (0..APIS).map(|api| world.api(api)).collect::<anyhow::Result<Vec<_>>>()?;
        for api in apis.iter().filter(|api| world.still_runs(api)) {
            end(api)?;
        }
        while let Some(worker) = world.take_worker(0) {
            if world.still_runs(&worker) {
                self.worker_away(&worker, true, || end(&worker))?;
            }
        }
        psql(url, &restore())?;
        let time = time.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let time = psql(
            url,
            &format!("SELECT to_char(to_timestamp({time}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"),
        )?;
        for handler in HANDLERS {
            // A worker that was killed leaves its group after a while.
            within(COMMAND, || world.command(&["seek", "--handler", handler, "--to-time", &time], COMMAND))
                .with_context(|| format!("seek --handler {handler}"))?;
        }
        let (videos, numbers) = (gather::saved_videos(world, SAVED)?, gather::numbers(world)?);
        for (number, api) in apis.iter_mut().enumerate() {
            **api = world.start_api(number)?;
        }
        let span = Span { from, to: self.began.elapsed() };
        lock(self.history).placements.restored.push(Restored { span, videos, numbers });
        drop(closed);
        (0..WORKERS).try_for_each(|_| world.add_worker())
    }
}

/// Copies the tables, all as they are at one moment.
fn save() -> String {
    let copies: Vec<_> = TABLES.map(|table| format!("CREATE TABLE {SAVED}.{table} AS TABLE {table}")).into();
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; DROP SCHEMA IF EXISTS {SAVED} CASCADE; CREATE SCHEMA {SAVED}; {};
         CREATE TABLE {SAVED}.ids AS SELECT last_value FROM outbox_id_seq; COMMIT",
        copies.join("; ")
    )
}

/// The ids of the outbox are given out again.
fn restore() -> String {
    let filled: Vec<_> =
        TABLES.map(|table| format!("INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {SAVED}.{table}")).into();
    format!(
        "BEGIN; TRUNCATE {}; {}; SELECT setval('outbox_id_seq', last_value) FROM {SAVED}.ids; COMMIT",
        TABLES.join(", "),
        filled.join("; ")
    )
}
