//! The statements of the worker as of bbf9d046, on the tables of then (`baseline.sql`): a ceiling that stays what it is
//! while the worker's own statements change.
//!
//! It takes only new events, in their order, of devices that were not erased; anything else is an error.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::ensure;
use shared::devices::DeviceDelivery;
use shared::kafka::position::Position;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Row as _};

use crate::bed::Site;

pub(super) const WHAT: &str = "the statements and tables of bbf9d046, on rows from memory";
pub(super) const EVENTS: &str = "baseline.events";

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE forgotten_devices IN ROW SHARE MODE";
const TOMBSTONES: &str =
    "SELECT device_id, forgotten_at, topic, end_offsets FROM forgotten_devices WHERE device_id = ANY($1)";
const INSERT: &str = r#"WITH inserted AS (
   INSERT INTO events (device_id, event_id, type, payload, user_id, request_id, accepted_at, occurred_at,
                       topic, partition, "offset", appended_at, outcome)
   SELECT device_id, event_id, type, payload::jsonb, user_id, request_id, accepted_at, occurred_at,
          topic, partition, "offset", appended_at, 'applied'
   FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
               $8::timestamptz[], $9::text[], $10::int[], $11::bigint[], $12::timestamptz[])
     AS new (device_id, event_id, type, payload, user_id, request_id, accepted_at, occurred_at,
             topic, partition, "offset", appended_at)
   ON CONFLICT (device_id, event_id) DO NOTHING RETURNING 1)
   SELECT r.id, r.version, r.topic, r.partition, r."offset", r.appended_at, total.inserted
   FROM (SELECT count(*) AS inserted FROM inserted) AS total
   LEFT JOIN resources AS r ON r.id = ANY($13)"#;
const UPSERT: &str = r#"WITH written AS (
   INSERT INTO resources AS r (id, payload, version, event_id, accepted_at, updated_at,
                               topic, partition, "offset", appended_at)
   SELECT id, payload::jsonb, applied, event_id, accepted_at, now(), topic, partition, "offset", appended_at
   FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[], $7::int[],
               $8::bigint[], $9::timestamptz[])
     AS new (id, payload, applied, event_id, accepted_at, topic, partition, "offset", appended_at)
   ON CONFLICT (id) DO UPDATE SET
     payload = excluded.payload, version = r.version + excluded.version, event_id = excluded.event_id,
     accepted_at = excluded.accepted_at, updated_at = excluded.updated_at, topic = excluded.topic,
     partition = excluded.partition, "offset" = excluded."offset", appended_at = excluded.appended_at
   RETURNING id, version)
   SELECT count(*) FROM written
   JOIN unnest($1::text[], $10::bigint[]) AS expected (id, version) USING (id, version)"#;

/// The values of a column, one for each element, for `unnest`.
macro_rules! column {
    ($all:expr, |$one:pat_param| $value:expr) => {
        $all.iter().map(|$one| $value).collect::<Vec<_>>()
    };
}

#[derive(Clone)]
pub(super) struct Baseline(PgPool);

impl Baseline {
    /// Makes the tables in the site's database.
    pub(super) fn connect(site: &Site<'_>) -> anyhow::Result<Self> {
        site.sql(include_str!("baseline.sql"))?;
        let options: PgConnectOptions = site.scope.database_url.parse()?;
        let options = options.options([("search_path", "baseline"), ("synchronous_commit", "on")]);
        // As the worker's.
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .connect_with(options);
        Ok(Self(site.bed.runtime.block_on(pool)?))
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    /// Applies a batch in a transaction.
    pub(super) async fn apply(&self, batch: &[&DeviceDelivery]) -> anyhow::Result<()> {
        let mut connection = self.0.acquire().await?;
        sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
        apply(&mut connection, batch).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
        Ok(())
    }
}

/// A resource before the batch.
struct State {
    version: i64,
    position: Position,
}

/// The change of one resource by a batch: the version before, the number of events, the newest of them.
struct Change<'a> {
    expected: i64,
    applied: i64,
    last: &'a DeviceDelivery,
}

async fn apply(connection: &mut PgConnection, given: &[&DeviceDelivery]) -> anyhow::Result<()> {
    let mut events = given.to_vec();
    events.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut ids: Vec<&str> = events.iter().map(|event| key(event).0).collect();
    ids.dedup();
    let erased = sqlx::query(TOMBSTONES).bind(&ids).fetch_all(&mut *connection).await?;
    ensure!(erased.is_empty(), "a device was erased");
    let states = insert(connection, &events, &ids).await?;

    let mut by_device = given.to_vec();
    by_device.sort_by(|a, b| key(a).0.cmp(key(b).0));
    let mut changes = Vec::with_capacity(ids.len());
    for run in by_device.chunk_by(|a, b| key(a).0 == key(b).0) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let state = states.get(key(first).0);
        let mut newest = state.map(|state| &state.position);
        for event in run {
            ensure!(newest.is_none_or(|newest| event.position.is_newer_than(newest)), "an event is out of order");
            newest = Some(&event.position);
        }
        let expected = state.map_or(0, |state| state.version);
        changes.push(Change { expected, applied: i64::try_from(run.len())?, last });
    }
    upsert(connection, &changes).await
}

fn key(event: &DeviceDelivery) -> (&str, &str) {
    (event.event.device_id.as_str(), event.envelope.id.as_str())
}

async fn insert(
    connection: &mut PgConnection,
    events: &[&DeviceDelivery],
    ids: &[&str],
) -> anyhow::Result<HashMap<String, State>> {
    let rows = sqlx::query(INSERT)
        .bind(column!(events, |e| e.event.device_id.as_str()))
        .bind(column!(events, |e| e.envelope.id.as_str()))
        .bind(column!(events, |e| e.envelope.event_type))
        .bind(column!(events, |e| e.event.payload.as_str()))
        .bind(column!(events, |e| e.envelope.user_id.as_deref()))
        .bind(column!(events, |e| e.envelope.request_id.as_deref()))
        .bind(column!(events, |e| e.envelope.accepted_at))
        .bind(column!(events, |e| e.envelope.occurred_at))
        .bind(column!(events, |e| e.position.topic.as_str()))
        .bind(column!(events, |e| e.position.partition))
        .bind(column!(events, |e| e.position.offset))
        .bind(column!(events, |e| e.position.appended_at))
        .bind(ids)
        .fetch_all(connection)
        .await?;
    let inserted: i64 = rows.first().map_or(Ok(0), |row| row.try_get(6))?;
    ensure!(usize::try_from(inserted)? == events.len(), "{inserted} of {} events are new", events.len());
    let mut states = HashMap::with_capacity(rows.len());
    for row in rows {
        let Some(id) = row.try_get(0)? else { continue };
        let topic: String = row.try_get(2)?;
        let position = Position::new(topic, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        states.insert(id, State { version: row.try_get(1)?, position });
    }
    Ok(states)
}

async fn upsert(connection: &mut PgConnection, changes: &[Change<'_>]) -> anyhow::Result<()> {
    let written: i64 = sqlx::query_scalar(UPSERT)
        .bind(column!(changes, |change| change.last.event.device_id.as_str()))
        .bind(column!(changes, |change| change.last.event.payload.as_str()))
        .bind(column!(changes, |change| change.applied))
        .bind(column!(changes, |change| change.last.envelope.id.as_str()))
        .bind(column!(changes, |change| change.last.envelope.accepted_at))
        .bind(column!(changes, |change| change.last.position.topic.as_str()))
        .bind(column!(changes, |change| change.last.position.partition))
        .bind(column!(changes, |change| change.last.position.offset))
        .bind(column!(changes, |change| change.last.position.appended_at))
        .bind(column!(changes, |change| change.expected + change.applied))
        .fetch_one(connection)
        .await?;
    ensure!(usize::try_from(written)? == changes.len(), "{written} of {} resources are as expected", changes.len());
    Ok(())
}
