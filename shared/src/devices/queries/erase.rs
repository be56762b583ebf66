//! Erases a device, and keeps what is left of it in the log from coming back.
//!
//! A row in `forgotten_devices` is the tombstone: an event that was accepted, or appended to the
//! log, up to `forgotten_at` has no effect any more. What comes later begins a new life at version 1.
//! Where an event's time is its producer's word, or was once, a clock that is ahead would bring it back: so the
//! tombstone also holds where the topic ended, and what stands before that is of the old life, whatever its time.
//!
//! **The race.** A worker may have a batch in hand, past the question whether its devices are
//! forgotten, with rows that nobody else sees yet: a transaction that erased beside it would leave
//! them. So every transaction that [applies](super::apply) begins with `LOCK TABLE forgotten_devices IN ROW SHARE MODE`
//! ([`BEGIN`]: in one message with `BEGIN`, and a lock that such transactions share), and
//! [`erase`] takes `EXCLUSIVE`, which waits until each of these has ended, and makes the next
//! ones wait. Under `READ COMMITTED` each statement sees what was committed before it: those that
//! `erase` runs behind the lock see all that was in hand, and the first question of an `apply` that
//! waited sees the tombstone. Backups are not in the way: they take `ACCESS SHARE`.
//!
//! A device may have millions of events. They are deleted before the lock is taken, in the same
//! transaction; behind it only what came in meanwhile, so that ingest stands still for milliseconds.
//! A worker that is just given one of these events again waits for that, with its lock: a deadlock,
//! which PostgreSQL ends. After a few of them the lock is taken first, and cannot be in one.

use std::collections::HashMap;

use sqlx::Row;
use time::OffsetDateTime;

use crate::devices::{DeviceDelivery, DeviceId};
use crate::kafka::position::Position;
use crate::store::{Class, Failure, Store, Tx, Work, within_deadline};

/// How a transaction begins that must not be overtaken by [`erase`].
pub const BEGIN: &str = "LOCK TABLE forgotten_devices IN ROW SHARE MODE";

/// Two transactions that waited for each other: how often the erasing one tries to spare the others.
const TRIES: u32 = 3;

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Rows of `events`.
    pub events: i64,
    /// The version that the resource was at, if there was one.
    pub version: Option<i64>,
    /// Events that were accepted or appended up to then have no effect any more.
    pub at: OffsetDateTime,
}

/// Where a topic ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEnd {
    /// The topic.
    pub topic: String,
    /// The next offset of each partition, in their order.
    pub offsets: Vec<i64>,
}

impl TopicEnd {
    /// Whether a place is before it.
    fn is_behind(&self, position: &Position) -> bool {
        let offset = usize::try_from(position.partition).ok().and_then(|partition| self.offsets.get(partition));
        self.topic == position.topic && offset.is_some_and(|end| position.offset < *end)
    }
}

/// Erases a device's rows, and sets its tombstone, in one transaction. Its cache entry has to
/// go after that ([`crate::cache::Cache::erase`]). To repeat it erases the new life too. `end` is where the
/// topic of its events ended just before, if there is one. If it fails, nothing is erased.
pub async fn erase(store: &Store, id: &DeviceId, end: Option<&TopicEnd>) -> Result<Erased, Failure> {
    let mut tried = 0;
    loop {
        match store.transact_without_limit(&Erasure { id, end, lock_first: tried == TRIES }).await {
            Err(Failure { class: Class::Again, .. }) if tried < TRIES => tried += 1,
            outcome => return outcome,
        }
    }
}

/// Drops what tombstones say of where these topics ended: they were made anew, and their offsets begin at 0 again.
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
        // The broker's clock may be ahead of PostgreSQL's: nothing that was here may come again.
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

/// What is left of a device that was forgotten.
pub(super) struct Tombstone {
    at: OffsetDateTime,
    end: Option<TopicEnd>,
}

/// The tombstones of these devices, of those that were ever forgotten: one look into an index, or into a table
/// that is empty.
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

/// Whether an event is of the life that was forgotten. When it was accepted and when it was appended
/// are different clocks, and one of them is enough: a record that comes again, or is redriven, has
/// the times of its first coming. Where neither is the broker's, or that is not known, its place says it too.
pub(super) fn is_forgotten(tombstones: &HashMap<String, Tombstone>, delivery: &DeviceDelivery) -> bool {
    let DeviceDelivery { event, position, envelope } = delivery;
    tombstones.get(event.device_id.as_str()).is_some_and(|Tombstone { at, end }| {
        envelope.accepted_at <= *at
            || position.appended_at <= *at
            || (position.create_time || position.redriven) && end.as_ref().is_some_and(|end| end.is_behind(position))
    })
}
