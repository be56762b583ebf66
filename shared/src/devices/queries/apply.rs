//! Applies a batch of events in one transaction: a batch in order in one statement, and any other one in several, first
//! the events, then the latest states.
//!
//! The outcome depends only on the order of the log, never on the boundaries of batches: each new event is `applied` if
//! it is newer than the state before it, and otherwise `superseded`.

use std::collections::{HashMap, HashSet};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::applied::{Applied, Outcome};
use super::erase::{Tombstones, is_forgotten, tombstones};
use super::in_order::{apply_in_order, take_back};
use crate::devices::DeviceDelivery;
use crate::kafka::position::Position;
use crate::store::{Failure, Tx, column};

/// An event with its index in the batch.
#[derive(Clone, Copy)]
struct Item<'a> {
    index: usize,
    event: &'a DeviceDelivery,
}

/// Applies a batch, in the given order; of copies of an event, the first counts. After a failure, nothing of the batch is
/// applied; but if the connection was lost during the commit, all of it may be. A repeat does no harm.
///
/// The transaction must begin with [`BEGIN`](super::BEGIN).
pub async fn apply(session: &mut Tx<'_>, given: &[&DeviceDelivery]) -> Result<Applied, Failure> {
    let devices = devices(given);
    let applied = apply_in_order(session, given).await?;
    // Once the rows are written, no erasure of these devices can end before this transaction does: see `erase`.
    let forgotten = tombstones(session, &devices).await?;
    match applied {
        Some(applied) if !given.iter().any(|event| is_forgotten(&forgotten, event)) => Ok(applied),
        Some(_) => {
            take_back(session).await?;
            apply_each(session, given, &devices, &forgotten).await
        }
        None => apply_each(session, given, &devices, &forgotten).await,
    }
}

/// Decides for each event whether it is new, and newer than the state before it.
async fn apply_each(
    session: &mut Tx<'_>,
    given: &[&DeviceDelivery],
    devices: &[&str],
    forgotten: &Tombstones,
) -> Result<Applied, Failure> {
    let mut outcome = Applied::of(given.len());
    // Drop events of erased devices before copies are removed: otherwise an old copy would hide a later one.
    let mut batch: Vec<Item<'_>> = given.iter().enumerate().map(|(index, event)| Item { index, event }).collect();
    batch.retain(|item| !is_forgotten(forgotten, item.event));
    if batch.is_empty() {
        return Ok(outcome);
    }

    let (first, twice) = first_of_each(&batch);

    let events: Vec<&DeviceDelivery> = first.iter().map(|item| item.event).collect();
    let mut ids: Vec<&str> = events.iter().map(|event| event.event.device_id.as_str()).collect();
    ids.dedup();
    // The loop removes each new event at its first copy.
    let (mut new, states) = insert_events(session, &events, &ids).await?;
    let repeated = first.iter().copied().filter(|item| !new.contains(&key(item.event)));
    let repeated: Vec<_> = twice.into_iter().chain(repeated).collect();
    let conflicting = conflicts(session, &repeated).await?;

    // Sorted by device, so that two transactions lock rows in the same order; a device's events stay in the order of
    // the batch.
    let mut by_device = batch;
    by_device.sort_by(|a, b| a.event.event.device_id.cmp(&b.event.event.device_id));

    let mut changes = Vec::with_capacity(ids.len());
    let mut superseded = Vec::new();
    for run in by_device.chunk_by(|a, b| a.event.event.device_id == b.event.event.device_id) {
        let Some(id) = run.first().map(|item| &item.event.event.device_id) else { continue };
        let state = states.get(id.as_str());
        let mut newest = state.map(|state| &state.position);
        let mut change = Change { expected: state.map_or(0, |state| state.version), applied: 0, event: None };
        let mut unchanging = Vec::new();
        for &Item { index, event } in run {
            if !new.remove(&key(event)) {
                let is_other = conflicting.contains(&index);
                unchanging.push((index, if is_other { Outcome::Conflicting } else { Outcome::Repeated }));
            } else if newest.is_none_or(|newest| event.position.is_newer_than(newest)) {
                newest = Some(&event.position);
                change.applied += 1;
                change.event = Some(event);
                outcome.note(index, Outcome::Applied, Some(change.version()));
            } else {
                superseded.push(event);
                change.event.get_or_insert(event);
                unchanging.push((index, Outcome::Superseded));
            }
        }
        let version = Some(change.version()).filter(|version| *version > 0);
        for (index, what) in unchanging {
            outcome.note(index, what, version);
        }
        outcome.fences.extend(version.map(|version| (id.cache_key(), version)));
        changes.push(change);
    }

    upsert(session, &changes).await?;
    mark_superseded(session, &superseded).await?;
    if tombstones(session, devices).await? != *forgotten {
        return Err(Failure::again("one of the devices was erased meanwhile"));
    }
    Ok(outcome)
}

/// The devices of a batch, sorted.
fn devices<'a>(batch: &[&'a DeviceDelivery]) -> Vec<&'a str> {
    let mut ids: Vec<_> = batch.iter().map(|delivery| delivery.event.device_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn key(event: &DeviceDelivery) -> (&str, &str) {
    (event.event.device_id.as_str(), event.envelope.id.as_str())
}

/// The first copy of each event, sorted by key, and the other copies.
fn first_of_each<'a>(batch: &[Item<'a>]) -> (Vec<Item<'a>>, Vec<Item<'a>>) {
    let mut sorted = batch.to_vec();
    // The sort is stable, so the first copy of an event stays first.
    sorted.sort_by(|a, b| key(a.event).cmp(&key(b.event)));
    let mut first: Vec<Item<'_>> = Vec::with_capacity(sorted.len());
    let mut twice = Vec::new();
    for item in sorted {
        match first.last() {
            Some(kept) if key(kept.event) == key(item.event) => twice.push(item),
            _ => first.push(item),
        }
    }
    (first, twice)
}

/// Inserts events, and returns the new ones and the states of their resources, in one round trip. The states are from
/// before the insert. That is enough if all events are new: [`upsert`] detects a concurrent change by the version.
/// Otherwise the insert may have waited for another transaction that inserted some of the events, and its states are
/// not visible to this statement; the fence's version would be too low. Then the states are read again, and the
/// statement returns the keys of the new events instead: a row for each event would be a large part of the insert's cost,
/// and nearly always all events are new.
///
/// One array per column, so that the statement's text is the same for every batch size.
async fn insert_events<'a>(
    session: &mut Tx<'_>,
    events: &[&'a DeviceDelivery],
    ids: &[&str],
) -> Result<(HashSet<(&'a str, &'a str)>, HashMap<String, State>), Failure> {
    let rows = sqlx::query(
        r#"WITH inserted AS (
           INSERT INTO events (device_id, event_id, type, payload, user_id, request_id, accepted_at, occurred_at,
                               topic, partition, "offset", appended_at, outcome)
           SELECT device_id, event_id, type, payload::jsonb, user_id, request_id, accepted_at, occurred_at,
                  topic, partition, "offset", appended_at, 'applied'
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                       $8::timestamptz[], $9::text[], $10::int[], $11::bigint[], $12::timestamptz[])
             AS new (device_id, event_id, type, payload, user_id, request_id, accepted_at, occurred_at,
                     topic, partition, "offset", appended_at)
           ON CONFLICT (device_id, event_id) DO NOTHING RETURNING device_id, event_id)
           SELECT r.id, r.version, r.topic, r.partition, r."offset", r.appended_at, new.are_all, new.devices, new.ids
           FROM (SELECT CASE WHEN count(*) < cardinality($1) THEN array_agg(device_id) END AS devices,
                        CASE WHEN count(*) < cardinality($1) THEN array_agg(event_id) END AS ids,
                        count(*) = cardinality($1) AS are_all
                 FROM inserted) AS new
           LEFT JOIN resources AS r ON r.id = ANY($13) AND new.are_all"#,
    )
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
    .fetch_all(&mut *session)
    .await?;
    // There is always at least one row.
    let Some(row) = rows.first() else { return Ok(Default::default()) };
    let are_all: bool = row.try_get("are_all")?;
    if are_all {
        return Ok((events.iter().map(|event| key(event)).collect(), states(rows)?));
    }
    // NULL if none is new.
    let devices: Vec<String> = row.try_get::<Option<_>, _>("devices")?.unwrap_or_default();
    let ids_of_new: Vec<String> = row.try_get::<Option<_>, _>("ids")?.unwrap_or_default();
    let new: HashSet<_> = devices.iter().map(String::as_str).zip(ids_of_new.iter().map(String::as_str)).collect();
    let new = events.iter().map(|event| key(event)).filter(|key| new.contains(key)).collect();
    Ok((new, current(session, ids).await?))
}

/// The repeats whose payload differs from the stored event's, by their index in the batch. (An event whose first copy
/// is in the same batch is stored by now.) PostgreSQL compares the payloads as `jsonb`, with all digits of numbers.
async fn conflicts(session: &mut Tx<'_>, repeated: &[Item<'_>]) -> Result<HashSet<usize>, Failure> {
    if repeated.is_empty() {
        return Ok(HashSet::new());
    }
    let found: Vec<i64> = sqlx::query_scalar(
        "SELECT again.place
         FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS again (device_id, event_id, payload, place)
         JOIN events USING (device_id, event_id)
         WHERE events.device_id = ANY($1) AND events.payload <> again.payload::jsonb",
    )
    .bind(column!(repeated, |item| item.event.event.device_id.as_str()))
    .bind(column!(repeated, |item| item.event.envelope.id.as_str()))
    .bind(column!(repeated, |item| item.event.event.payload.as_str()))
    .fetch_all(session)
    .await?;
    // `WITH ORDINALITY` counts from 1.
    let place = |place: i64| repeated.get(usize::try_from(place).ok()?.checked_sub(1)?).map(|item| item.index);
    Ok(found.into_iter().filter_map(place).collect())
}

/// A resource before the batch.
struct State {
    version: i64,
    position: Position,
}

async fn current(session: &mut Tx<'_>, ids: &[&str]) -> Result<HashMap<String, State>, Failure> {
    let rows =
        sqlx::query(r#"SELECT id, version, topic, partition, "offset", appended_at FROM resources WHERE id = ANY($1)"#)
            .bind(ids)
            .fetch_all(session)
            .await?;
    states(rows)
}

/// The states from rows with a resource's id, version and position; rows without an id are skipped.
fn states(rows: Vec<PgRow>) -> Result<HashMap<String, State>, Failure> {
    let mut states = HashMap::with_capacity(rows.len());
    for row in rows {
        let Some(id) = row.try_get(0)? else { continue };
        let topic: String = row.try_get(2)?;
        let position = Position::new(topic, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        states.insert(id, State { version: row.try_get(1)?, position });
    }
    Ok(states)
}

/// The change of one resource by a batch.
struct Change<'a> {
    /// The version that was read before the change; 0 if the resource did not exist.
    expected: i64,
    /// The number of applied events.
    applied: i64,
    /// The newest of them; if none was applied, an event that came too late: then the row is written as it is, which
    /// locks it.
    event: Option<&'a DeviceDelivery>,
}

impl Change<'_> {
    /// The version of the resource after the change.
    fn version(&self) -> i64 {
        self.expected + self.applied
    }
}

/// Writes the new states, and locks the rows of devices whose events all came too late. One statement does both, in the
/// order of the devices: with two, batches that have devices in common could wait for each other.
///
/// The rows were read without a lock. A concurrent change since then shows in the versions, which only grow; so the
/// statement returns only the number of rows with the expected version. If one differs, the whole batch is applied again.
async fn upsert(session: &mut Tx<'_>, changes: &[Change<'_>]) -> Result<(), Failure> {
    let changes: Vec<_> = changes.iter().filter_map(|change| Some((change, change.event?))).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let as_expected: i64 = sqlx::query_scalar(
        r#"WITH written AS (
           INSERT INTO resources AS r (id, payload, version, event_id, accepted_at, updated_at,
                                       topic, partition, "offset", appended_at)
           SELECT id, payload::jsonb, applied, event_id, accepted_at, now(), topic, partition, "offset", appended_at
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[], $7::int[],
                       $8::bigint[], $9::timestamptz[])
             AS new (id, payload, applied, event_id, accepted_at, topic, partition, "offset", appended_at)
           ON CONFLICT (id) DO UPDATE SET
             version = CASE WHEN excluded.event_id <> '' THEN r.version + excluded.version ELSE r.version END,
             payload = CASE WHEN excluded.event_id <> '' THEN excluded.payload ELSE r.payload END,
             event_id = CASE WHEN excluded.event_id <> '' THEN excluded.event_id ELSE r.event_id END,
             accepted_at = CASE WHEN excluded.event_id <> '' THEN excluded.accepted_at ELSE r.accepted_at END,
             updated_at = CASE WHEN excluded.event_id <> '' THEN excluded.updated_at ELSE r.updated_at END,
             topic = CASE WHEN excluded.event_id <> '' THEN excluded.topic ELSE r.topic END,
             partition = CASE WHEN excluded.event_id <> '' THEN excluded.partition ELSE r.partition END,
             "offset" = CASE WHEN excluded.event_id <> '' THEN excluded."offset" ELSE r."offset" END,
             appended_at = CASE WHEN excluded.event_id <> '' THEN excluded.appended_at ELSE r.appended_at END
           RETURNING id, version, event_id)
           SELECT count(*) FROM written
           JOIN unnest($1::text[], $10::bigint[]) AS expected (id, version) USING (id, version) WHERE event_id <> ''"#,
    )
    .bind(column!(changes, |(_, event)| event.event.device_id.as_str()))
    .bind(column!(changes, |(_, event)| event.event.payload.as_str()))
    // Also the version of a row that is not there, which has to be a valid one.
    .bind(column!(changes, |(change, _)| change.applied.max(1)))
    // No event's id is empty.
    .bind(column!(changes, |(change, event)| if change.applied > 0 { event.envelope.id.as_str() } else { "" }))
    .bind(column!(changes, |(_, event)| event.envelope.accepted_at))
    .bind(column!(changes, |(_, event)| event.position.topic.as_str()))
    .bind(column!(changes, |(_, event)| event.position.partition))
    .bind(column!(changes, |(_, event)| event.position.offset))
    .bind(column!(changes, |(_, event)| event.position.appended_at))
    .bind(column!(changes, |(change, _)| change.version()))
    .fetch_one(session)
    .await?;
    as_many(as_expected.unsigned_abs(), changes.len())
}

/// A statement that checks the versions of rows reached this many of the expected ones.
fn as_many(reached: u64, expected: usize) -> Result<(), Failure> {
    if usize::try_from(reached).is_ok_and(|reached| reached == expected) {
        Ok(())
    } else {
        Err(Failure::again("another worker changed the same resource"))
    }
}

async fn mark_superseded(session: &mut Tx<'_>, events: &[&DeviceDelivery]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE events SET outcome = 'superseded' FROM unnest($1::text[], $2::text[]) AS late (device_id, event_id)
         WHERE events.device_id = late.device_id AND events.event_id = late.event_id AND events.device_id = ANY($1)",
    )
    .bind(column!(events, |e| e.event.device_id.as_str()))
    .bind(column!(events, |e| e.envelope.id.as_str()))
    .execute(session)
    .await?;
    Ok(())
}
