//! Erases a device, and keeps its events in the log from restoring it.
//!
//! A row in `forgotten_devices` is the tombstone: an event that was accepted, or appended to the log, up to
//! `forgotten_at` has no effect any more. Later events create the resource again, from version 1. If the producer's
//! clock set an event's time, or did so originally, a fast clock would make an old event look new. So the tombstone
//! also has the end offsets of the topic, and events before them are old, whatever their time.
//!
//! **The race.** A worker may be applying a batch after it checked the tombstones, with rows that are not committed
//! yet. A concurrent erasure would not see these rows, and leave them. The device's row in `resources` is the lock: every
//! transaction that [applies](super::apply) a new event of a device writes that row, or inserts it, and then reads the
//! tombstones again; [`erase`] takes the row first, or inserts one that it deletes again. Under `READ COMMITTED` each
//! statement sees what was committed before it, so one of two things happens:
//!
//! - The worker has the row first. The erasure waits until that transaction has ended, and its next statement sees and
//!   deletes the events.
//! - The erasure has the row first. The worker waits, and its next statement sees the tombstone: it rolls back, and
//!   applies the batch again.
//!
//! Nothing waits for the erasure of another device, and in a cluster of PostgreSQLs the lock, the rows and the tombstone
//! are all on the node that has the device.
//!
//! A device may have millions of events. They are deleted before the row is taken, in the same transaction; under the
//! lock only rows that arrived since, so that the device's ingest stops for milliseconds only.

use std::collections::HashMap;

use sqlx::Row;
use time::OffsetDateTime;

use crate::devices::{DeviceDelivery, DeviceId};
use crate::kafka::position::Position;
use crate::store::{Class, Failure, Store, Tx, Work, within_deadline};

/// How often an erasure that conflicts with another transaction, as with the expiry of the same events, is tried again.
const TRIES: u32 = 3;

/// The result of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// The number of erased rows of `events`.
    pub events: i64,
    /// The version of the erased resource, if there was one.
    pub version: Option<i64>,
    /// Events that were accepted or appended up to this time have no effect any more.
    pub at: OffsetDateTime,
}

/// The end offsets of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEnd {
    /// The topic.
    pub topic: String,
    /// The next offset of each partition, in their order.
    pub offsets: Vec<i64>,
}

impl TopicEnd {
    /// Whether a position is before the end.
    fn is_behind(&self, position: &Position) -> bool {
        let offset = usize::try_from(position.partition).ok().and_then(|partition| self.offsets.get(partition));
        self.topic == position.topic && offset.is_some_and(|end| position.offset < *end)
    }
}

/// Erases a device's rows, and sets its tombstone, in one transaction. After that, erase its cache entry with
/// [`crate::cache::Cache::erase`]. A repeat also erases the rows that were created since. `end` has the topic's end
/// offsets just before the call, if the topic exists. If it fails, nothing is erased.
pub async fn erase(store: &Store, id: &DeviceId, end: Option<&TopicEnd>) -> Result<Erased, Failure> {
    let mut tried = 0;
    loop {
        match store.transact_without_limit(&Erasure { id, end }).await {
            Err(Failure { class: Class::Again, .. }) if tried < TRIES => tried += 1,
            outcome => return outcome,
        }
    }
}

/// Removes the end offsets of these topics from the tombstones: the topics were recreated, and start at offset 0 again.
pub async fn reset_ends(store: &Store, topics: &[String]) -> Result<(), Failure> {
    let query =
        sqlx::query("UPDATE forgotten_devices SET topic = NULL, end_offsets = NULL WHERE topic = ANY($1)").bind(topics);
    within_deadline!(store, |tx| async { Ok(query.execute(tx).await.map(drop)?) })
}

struct Erasure<'a> {
    id: &'a DeviceId,
    end: Option<&'a TopicEnd>,
}

impl Work for Erasure<'_> {
    type Output = Erased;

    async fn run(&self, session: &mut Tx<'_>) -> Result<Erased, Failure> {
        let Self { id, end } = self;
        let (many, latest) = delete_events(session, id).await?;
        let exists = lock(session, id).await?;
        let (rest, later) = delete_events(session, id).await?;
        let row: (i64, OffsetDateTime) =
            sqlx::query_as("DELETE FROM resources WHERE id = $1 RETURNING version, appended_at")
                .bind(id.as_str())
                .fetch_one(&mut *session)
                .await?;
        let resource = Some(row).filter(|_| exists);
        // The broker's clock may be ahead of PostgreSQL's, so use the greatest append time too.
        let at = sqlx::query_scalar(
            "INSERT INTO forgotten_devices AS f (device_id, forgotten_at, topic, end_offsets)
         VALUES ($1, greatest(clock_timestamp(), $2, $3, $4), $5, $6)
         ON CONFLICT (device_id) DO UPDATE SET forgotten_at = greatest(f.forgotten_at, excluded.forgotten_at),
           topic = coalesce(excluded.topic, f.topic),
           end_offsets = CASE WHEN excluded.topic IS NULL THEN f.end_offsets ELSE excluded.end_offsets END
         RETURNING forgotten_at",
        )
        .bind(id.as_str())
        .bind(latest)
        .bind(later)
        .bind(resource.map(|(_, appended_at)| appended_at))
        .bind(end.map(|end| end.topic.as_str()))
        .bind(end.map(|end| end.offsets.as_slice()))
        .fetch_one(&mut *session)
        .await?;
        Ok(Erased { events: many + rest, version: resource.map(|(version, _)| version), at })
    }
}

/// Locks a device's row, and returns whether there was one. If not, it inserts one, for which a worker that applies the
/// device's first event waits; the event's id is empty, which no event's is.
async fn lock(session: &mut Tx<'_>, id: &DeviceId) -> Result<bool, Failure> {
    let query = sqlx::query_scalar(
        r#"INSERT INTO resources AS r (id, payload, version, event_id, accepted_at, updated_at,
                                       topic, partition, "offset", appended_at)
           VALUES ($1, '{}', 1, '', now(), now(), '', 0, 0, now())
           ON CONFLICT (id) DO UPDATE SET version = r.version RETURNING event_id <> ''"#,
    );
    Ok(query.bind(id.as_str()).fetch_one(session).await?)
}

async fn delete_events(session: &mut Tx<'_>, id: &DeviceId) -> Result<(i64, Option<OffsetDateTime>), Failure> {
    let query = sqlx::query_as(
        "WITH gone AS (DELETE FROM events WHERE device_id = $1 RETURNING appended_at)
         SELECT count(*), max(appended_at) FROM gone",
    );
    Ok(query.bind(id.as_str()).fetch_one(session).await?)
}

/// The tombstone of an erased device.
#[derive(PartialEq, Eq)]
pub(super) struct Tombstone {
    at: OffsetDateTime,
    end: Option<TopicEnd>,
}

/// The tombstones of some devices.
pub(super) type Tombstones = HashMap<String, Tombstone>;

/// The tombstones of these devices: one index lookup, usually in an empty table.
pub(super) async fn tombstones(session: &mut Tx<'_>, ids: &[&str]) -> Result<Tombstones, Failure> {
    let query = sqlx::query(
        "SELECT device_id, forgotten_at, topic, end_offsets FROM forgotten_devices WHERE device_id = ANY($1)",
    );
    let rows = query.bind(ids).fetch_all(session).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let end = Option::zip(row.try_get(2)?, row.try_get(3)?).map(|(topic, offsets)| TopicEnd { topic, offsets });
        found.insert(row.try_get(0)?, Tombstone { at: row.try_get(1)?, end });
    }
    Ok(found)
}

/// Whether an event is older than its device's erasure. The times of acceptance and of the append are from different
/// clocks; one of them is enough. A redelivered or redriven record has its original times. If the append time is not,
/// or may not be, the broker's, the position decides too.
pub(super) fn is_forgotten(tombstones: &Tombstones, delivery: &DeviceDelivery) -> bool {
    let DeviceDelivery { event, position, envelope } = delivery;
    tombstones.get(event.device_id.as_str()).is_some_and(|Tombstone { at, end }| {
        envelope.accepted_at <= *at
            || position.appended_at <= *at
            || (position.create_time || position.redriven) && end.as_ref().is_some_and(|end| end.is_behind(position))
    })
}
