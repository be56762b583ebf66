//! The queries of the relay, which publishes the rows of the outbox and deletes them.
//!
//! `outbox_relay` has one row: who may publish now, and what the topic is known to have. The lease only decides who
//! tries; Kafka's fencing by the transactional id decides who can.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;

use crate::runtime::sabotage::makes;
use crate::store::{Failure, Store, column, within_deadline};

/// By partition, the offset before which every record's row is gone from the outbox.
pub type Offsets = BTreeMap<i32, i64>;

/// The relay's row, as its holder reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRow {
    /// A UUID of this database, and of every restored copy of it.
    pub identity: String,
    /// What the topic is known to have.
    pub offsets: Offsets,
}

/// An event that is committed and not yet published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place among all rows. Within an aggregate, ids rise with the numbers.
    pub id: i64,
    /// CloudEvents `id`.
    pub event_id: String,
    /// The record's key.
    pub aggregate: String,
    /// Its number within the aggregate.
    pub sequence: i64,
    /// CloudEvents `type`.
    pub event_type: String,
    /// The other attributes, by name.
    pub attributes: BTreeMap<String, String>,
    /// The record's value.
    pub data: String,
    /// When it was written.
    pub written_at: OffsetDateTime,
}

/// A record of the topic that came from the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The event's id, a UUID.
    pub event_id: String,
    /// The record's key.
    pub aggregate: String,
    /// Its number within the aggregate.
    pub sequence: i64,
}

/// Takes the lease, if nobody else holds it; `None` if somebody does.
pub async fn hold(store: &Store, holder: &str, lease: Duration) -> Result<Option<RelayRow>, Failure> {
    let query = sqlx::query_as(
        "UPDATE outbox_relay SET holder = $1, held_until = clock_timestamp() + make_interval(secs => $2)
         WHERE name = 'outbox' AND (holder IS NULL OR holder = $1 OR held_until <= clock_timestamp() OR $3)
         RETURNING identity::text, offsets::text",
    );
    let query = query.bind(holder).bind(lease.as_secs_f64()).bind(makes("relay-skip-locked"));
    let row: Option<(String, String)> =
        within_deadline!(store, |session| async { Ok(query.fetch_optional(session).await?) })?;
    row.map(|(identity, offsets)| {
        let offsets = serde_json::from_str(&offsets);
        let offsets = offsets.map_err(|error| Failure::failed(format!("outbox_relay.offsets: {error}")))?;
        Ok(RelayRow { identity, offsets })
    })
    .transpose()
}

/// Renews the lease; `None` if somebody else has taken it. Otherwise whether there are rows behind this id, so that an
/// idle relay need not ask for that separately.
pub async fn renew(store: &Store, holder: &str, lease: Duration, after: i64) -> Result<Option<bool>, Failure> {
    let query = sqlx::query_scalar(
        "UPDATE outbox_relay SET held_until = clock_timestamp() + make_interval(secs => $2)
         WHERE name = 'outbox' AND holder = $1
         RETURNING EXISTS (SELECT FROM outbox WHERE id > $3)",
    );
    let query = query.bind(holder).bind(lease.as_secs_f64()).bind(after);
    within_deadline!(store, |session| async { Ok(query.fetch_optional(session).await?) })
}

/// Gives the lease back.
pub async fn release(store: &Store, holder: &str) -> Result<(), Failure> {
    let query = sqlx::query(
        "UPDATE outbox_relay SET holder = NULL, held_until = '-infinity' WHERE name = 'outbox' AND holder = $1",
    );
    let query = query.bind(holder);
    within_deadline!(store, |session| async { Ok(query.execute(session).await.map(drop)?) })
}

/// The first rows behind this id, in order: at most this many, and with at most this many bytes of data, but at least
/// one.
pub async fn read(store: &Store, after: i64, rows: u32, bytes: usize) -> Result<Vec<OutboxRow>, Failure> {
    let query = sqlx::query_as(if makes("relay-skip-locked") { CLAIM } else { READ });
    let query = query.bind(after).bind(i64::from(rows)).bind(i64::try_from(bytes).unwrap_or(i64::MAX));
    type Row = (i64, String, String, i64, String, String, String, OffsetDateTime);
    let read: Vec<Row> = within_deadline!(store, |session| async { Ok(query.fetch_all(session).await?) })?;
    let row = |(id, event_id, aggregate, sequence, event_type, attributes, data, written_at): Row| {
        let attributes = serde_json::from_str(&attributes)
            .map_err(|error| Failure::failed(format!("the attributes of the event {event_id}: {error}")))?;
        Ok(OutboxRow { id, event_id, aggregate, sequence, event_type, attributes, data, written_at })
    };
    read.into_iter().map(row).collect()
}

const READ: &str = "SELECT id, event_id::text, aggregate, sequence, type, attributes::text, data, written_at
    FROM (SELECT *, sum(octet_length(data)) OVER (ORDER BY id) - octet_length(data) AS before
          FROM (SELECT * FROM outbox WHERE id > $1 ORDER BY id LIMIT $2) AS some_rows) AS sized
    WHERE before < $3 ORDER BY id";
/// A mistake on purpose: several relays take rows from each other.
const CLAIM: &str = "WITH taken AS (DELETE FROM outbox WHERE id IN
        (SELECT id FROM outbox WHERE id > $1 AND octet_length(data) <= $3 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING *)
    SELECT id, event_id::text, aggregate, sequence, type, attributes::text, data, written_at FROM taken ORDER BY id";

/// Deletes rows that are published, and notes how far the topic is known. `false`, and nothing has changed, if somebody
/// else holds the lease.
pub async fn published(store: &Store, holder: &str, ids: &[i64], offsets: &Offsets) -> Result<bool, Failure> {
    let query = sqlx::query_scalar(
        "WITH held AS (UPDATE outbox_relay SET offsets = offsets || $3::jsonb
                       WHERE name = 'outbox' AND holder = $1 RETURNING 1),
              gone AS (DELETE FROM outbox WHERE id = ANY($2) AND EXISTS (SELECT FROM held))
         SELECT EXISTS (SELECT FROM held)",
    );
    let query = query.bind(holder).bind(ids).bind(as_json(offsets));
    within_deadline!(store, |session| async { Ok(query.fetch_one(session).await?) })
}

/// Deletes the rows of records that the topic has, and raises the numbers of their aggregates to what it shows: a
/// database that was restored to an earlier time then repeats no event, and uses no number twice. Returns how many rows
/// it deleted; `None`, and nothing has changed, if somebody else holds the lease.
pub async fn reconcile(
    store: &Store,
    holder: &str,
    found: &[Found],
    offsets: &Offsets,
) -> Result<Option<u64>, Failure> {
    // An aggregate whose number is high enough is not locked: a command may hold it.
    let query = sqlx::query_as(
        "WITH held AS (UPDATE outbox_relay SET offsets = offsets || $5::jsonb
                       WHERE name = 'outbox' AND holder = $1 RETURNING 1),
              gone AS (DELETE FROM outbox WHERE event_id = ANY($2::text[]::uuid[]) AND EXISTS (SELECT FROM held)
                       RETURNING 1),
              raised AS (INSERT INTO sequences (aggregate, last)
                         SELECT shown.aggregate, shown.last
                         FROM (SELECT aggregate, max(sequence) AS last
                               FROM unnest($3::text[], $4::bigint[]) AS seen (aggregate, sequence)
                               GROUP BY aggregate) AS shown
                         LEFT JOIN sequences AS known ON known.aggregate = shown.aggregate COLLATE \"C\"
                         WHERE coalesce(known.last, -1) < shown.last AND EXISTS (SELECT FROM held)
                         ORDER BY shown.aggregate COLLATE \"C\"
                         ON CONFLICT (aggregate) DO UPDATE SET last = excluded.last
                         WHERE sequences.last < excluded.last)
         SELECT EXISTS (SELECT FROM held), (SELECT count(*) FROM gone)",
    );
    let query = query
        .bind(holder)
        .bind(column!(found, |it| it.event_id.as_str()))
        .bind(column!(found, |it| it.aggregate.as_str()))
        .bind(column!(found, |it| it.sequence))
        .bind(as_json(offsets));
    let (is_held, gone): (bool, i64) =
        within_deadline!(store, |session| async { Ok(query.fetch_one(session).await?) })?;
    Ok(is_held.then(|| gone.unsigned_abs()))
}

/// Whether each of these events still waits in the outbox.
pub async fn all_wait(store: &Store, events: &[Found]) -> Result<bool, Failure> {
    let query = sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM unnest($1::text[]::uuid[], $2::text[], $3::bigint[])
                                AS found (event_id, aggregate, sequence)
                            LEFT JOIN outbox ON outbox.event_id = found.event_id
                                AND outbox.aggregate = found.aggregate AND outbox.sequence = found.sequence
                            WHERE outbox.id IS NULL)",
    );
    let query = query
        .bind(column!(events, |it| it.event_id.as_str()))
        .bind(column!(events, |it| it.aggregate.as_str()))
        .bind(column!(events, |it| it.sequence));
    within_deadline!(store, |session| async { Ok(query.fetch_one(session).await?) })
}

/// Forgets what the topic is known to have: topics were made anew, and their offsets begin at 0 again.
pub async fn forget_offsets(store: &Store) -> Result<(), Failure> {
    let query = sqlx::query("UPDATE outbox_relay SET offsets = '{}' WHERE offsets <> '{}'");
    within_deadline!(store, |session| async { Ok(query.execute(session).await.map(drop)?) })
}

/// How many rows wait, counted up to `most`, and since when the first one does.
pub async fn backlog(store: &Store, most: i64) -> Result<(i64, Option<OffsetDateTime>), Failure> {
    let query = sqlx::query_as(
        "SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS counted),
                (SELECT written_at FROM outbox ORDER BY id LIMIT 1)",
    );
    let query = query.bind(most);
    within_deadline!(store, |session| async { Ok(query.fetch_one(session).await?) })
}

/// How many rows wait at most, by the first and the last id: that takes no longer however many there are. It is too many
/// where ids between them are missing, because rows were published or commands were rolled back.
pub async fn backlog_at_most(store: &Store) -> Result<i64, Failure> {
    let query = sqlx::query_scalar("SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox");
    within_deadline!(store, |session| async { Ok(query.fetch_one(session).await?) })
}

fn as_json(offsets: &Offsets) -> String {
    let members: Vec<_> = offsets.iter().map(|(partition, offset)| format!("\"{partition}\":{offset}")).collect();
    format!("{{{}}}", members.join(","))
}
