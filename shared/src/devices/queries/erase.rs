//! Erases a device, and keeps its events in the log from restoring it.
//!
//! A row in `forgotten_devices` is the tombstone: an event that was accepted, or appended to the log, up to
//! `forgotten_at` has no effect any more. Later events create the resource again, from version 1. If the producer's
//! clock set an event's time, or did so originally, a fast clock would make an old event look new. So the tombstone
//! also has the end offsets of the topic, and events before them are old, whatever their time.
//!
//! **The race.** A worker may be applying a batch after it checked the tombstones, with rows that are not committed
//! yet. A concurrent erasure would not see these rows, and leave them. So every transaction that
//! [applies](super::apply) begins with `LOCK TABLE forgotten_devices IN ROW SHARE MODE` ([`BEGIN`]: in one message with
//! `BEGIN`; such transactions share the lock). [`erase`] takes `EXCLUSIVE`, which waits until all of these have ended,
//! and blocks new ones. Under `READ COMMITTED` each statement sees the rows committed before it: the statements of
//! `erase` under the lock see all applied batches, and the first query of an `apply` that waited sees the tombstone.
//! Backups do not conflict: they take `ACCESS SHARE`.
//!
//! A device may have millions of events. They are deleted before the lock is taken, in the same transaction; under the
//! lock only rows that arrived since, so that ingest stops for milliseconds only. A worker that applies a repeat of a
//! deleted event waits for this transaction while it holds its own lock: a deadlock, which PostgreSQL resolves by
//! aborting one of them. After a few deadlocks the lock is taken first, which excludes them.

use std::collections::HashMap;

use sqlx::Row;
use time::OffsetDateTime;

use crate::devices::{DeviceDelivery, DeviceId};
use crate::kafka::position::Position;
use crate::store::{Class, Failure, Store, Tx, Work, within_deadline};

/// The first statement of a transaction that must not run concurrently with [`erase`].
pub const BEGIN: &str = "LOCK TABLE forgotten_devices IN ROW SHARE MODE";

/// The deadlocks after which the erasing transaction takes the lock first.
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
        match store.transact_without_limit(&Erasure { id, end, lock_first: tried == TRIES }).await {
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
    lock_first: bool,
}

impl Work for Erasure<'_> {
    type Output = Erased;

    async fn run(&self, session: &mut Tx<'_>) -> Result<Erased, Failure> {
        const LOCK: &str = "LOCK TABLE forgotten_devices IN EXCLUSIVE MODE";
        let Self { id, end, lock_first } = self;
        if *lock_first {
            sqlx::query(LOCK).execute(&mut *session).await?;
        }
        let (many, latest) = delete_events(session, id).await?;
        sqlx::query(LOCK).execute(&mut *session).await?;
        let (rest, later) = delete_events(session, id).await?;
        let resource: Option<(i64, OffsetDateTime)> =
            sqlx::query_as("DELETE FROM resources WHERE id = $1 RETURNING version, appended_at")
                .bind(id.as_str())
                .fetch_optional(&mut *session)
                .await?;
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

async fn delete_events(session: &mut Tx<'_>, id: &DeviceId) -> Result<(i64, Option<OffsetDateTime>), Failure> {
    let query = sqlx::query_as(
        "WITH gone AS (DELETE FROM events WHERE device_id = $1 RETURNING appended_at)
         SELECT count(*), max(appended_at) FROM gone",
    );
    Ok(query.bind(id.as_str()).fetch_one(session).await?)
}

/// The tombstone of an erased device.
pub(super) struct Tombstone {
    at: OffsetDateTime,
    end: Option<TopicEnd>,
}

/// The tombstones of the batch's devices: one index lookup, usually in an empty table.
pub(super) async fn tombstones(
    session: &mut Tx<'_>,
    batch: &[&DeviceDelivery],
) -> Result<HashMap<String, Tombstone>, Failure> {
    let mut ids: Vec<_> = batch.iter().map(|decoded| decoded.event.device_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
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
pub(super) fn is_forgotten(tombstones: &HashMap<String, Tombstone>, delivery: &DeviceDelivery) -> bool {
    let DeviceDelivery { event, position, envelope } = delivery;
    tombstones.get(event.device_id.as_str()).is_some_and(|Tombstone { at, end }| {
        envelope.accepted_at <= *at
            || position.appended_at <= *at
            || (position.create_time || position.redriven) && end.as_ref().is_some_and(|end| end.is_behind(position))
    })
}
