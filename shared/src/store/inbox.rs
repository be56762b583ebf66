//! The inbox: the events that each subscriber has taken, so that a repeat has no effect.

use std::collections::HashMap;
use std::time::Duration;

use super::expire::Piece;
use super::journal::storable;
use super::{EventName, Failure, Store, Tx, column, within_deadline};
use crate::kafka::Delivery;

const ADMIT: &str = r#"
INSERT INTO inbox (subscriber, event_id, aggregate, sequence, appended_at)
SELECT $1, event_id, aggregate, sequence, appended_at
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
  AS events (event_id, aggregate, sequence, appended_at)
ORDER BY event_id COLLATE "C"
ON CONFLICT DO NOTHING RETURNING event_id"#;

/// Notes the events of a batch, in the transaction of their effect. For each of them in order, whether it is new: of an
/// event that is in the batch twice, the first one is. Waits for another transaction that has noted one of them.
pub async fn admit<E>(tx: &mut Tx<'_>, subscriber: &'static str, batch: &[&Delivery<E>]) -> Result<Vec<bool>, Failure> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(batch.len());
    for (place, delivery) in batch.iter().enumerate() {
        first.entry(delivery.envelope.id.as_str()).or_insert(place);
    }
    let mut places: Vec<usize> = first.values().copied().collect();
    places.sort_unstable();
    let events: Vec<_> = places.iter().filter_map(|place| batch.get(*place)).collect();
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query_scalar(ADMIT)
        .bind(subscriber)
        .bind(column!(events, |event| event.envelope.id.as_str()))
        .bind(column!(events, |event| event.envelope.key.as_str()))
        .bind(column!(events, |event| event.envelope.sequence))
        .bind(column!(events, |event| event.position.appended_at));
    let admitted: Vec<String> = query.fetch_all(tx).await?;
    let mut new = vec![false; batch.len()];
    for id in &admitted {
        if let Some(new) = first.get(id.as_str()).and_then(|place| new.get_mut(*place)) {
            *new = true;
        }
    }
    Ok(new)
}

/// What the inbox says of an event that a subscriber has taken.
const OUTCOME: &str = "taken";
const TAKEN: &str = "
SELECT asked.key, asked.id FROM unnest($1::text[], $2::text[]) AS asked (key, id)
JOIN inbox ON inbox.subscriber = $3 AND inbox.event_id = asked.id AND inbox.aggregate = asked.key";

/// The outcomes of those of these events that a subscriber has taken.
pub(super) async fn outcomes(
    store: &Store,
    subscriber: &str,
    events: &[EventName],
) -> Result<HashMap<EventName, String>, Failure> {
    let (keys, ids) = storable(events);
    let query = sqlx::query_as(TAKEN).bind(keys).bind(ids).bind(subscriber);
    let taken: Vec<EventName> = within_deadline!(store, |session| async { Ok(query.fetch_all(session).await?) })?;
    Ok(taken.into_iter().map(|event| (event, OUTCOME.to_owned())).collect())
}

/// Deletes up to `rows` notes of events that were taken longer ago than this, which must be longer than their topic
/// keeps them; `None` if another worker is doing it.
pub async fn expire_inbox(store: &Store, older_than: Duration, rows: u32) -> Result<Option<u64>, Failure> {
    Piece { table: "inbox", time: "taken_at", older_than, rows }.delete(store).await
}
