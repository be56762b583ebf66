//! Applies a batch whose events are all new and newer than the states, which is nearly every batch, in one statement.
//!
//! It inserts the events and writes the states at once: the arguments travel once, each payload is parsed once, and no
//! state has to be read before, because PostgreSQL compares the positions under the row's lock. If it turns out that an
//! event is not new, or not newer than the state, the statement is rolled back, and [`apply`](super::apply()) decides for
//! each event.

use std::collections::HashMap;

use super::applied::{Applied, Outcome};
use crate::devices::DeviceDelivery;
use crate::store::{Failure, Tx, column};

/// The first statement of a transaction that applies events: the point to return to if a batch was not in order.
pub const BEGIN: &str = "SAVEPOINT batch";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT batch";

/// The states are written only over older ones: in the same partition, from an offset before the batch's first, otherwise
/// from a time before all of its appends. This is stricter than
/// [`is_newer_than`](crate::kafka::position::Position::is_newer_than), and the same for all events of the batch.
///
/// One array per column, so that the statement's text is the same for every batch size.
const APPLY: &str = r#"
WITH new AS (
  SELECT device_id, event_id, payload::jsonb AS payload, user_id, request_id, accepted_at, occurred_at, "offset",
         appended_at, applied
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
              $8::bigint[], $9::timestamptz[], $10::bigint[])
    AS new (device_id, event_id, payload, user_id, request_id, accepted_at, occurred_at, "offset", appended_at, applied)
), inserted AS (
  INSERT INTO events (device_id, event_id, type, payload, user_id, request_id, accepted_at, occurred_at,
                      topic, partition, "offset", appended_at, outcome)
  SELECT device_id, event_id, $11::text, payload, user_id, request_id, accepted_at, occurred_at,
         $12::text, $13::int, "offset", appended_at, 'applied'
  FROM new ON CONFLICT (device_id, event_id) DO NOTHING RETURNING 1
), written AS (
  INSERT INTO resources AS r (id, payload, version, event_id, accepted_at, updated_at,
                              topic, partition, "offset", appended_at)
  SELECT device_id, payload, applied, event_id, accepted_at, now(), $12, $13, "offset", appended_at
  FROM new WHERE applied > 0
  ON CONFLICT (id) DO UPDATE SET
    payload = excluded.payload, version = r.version + excluded.version, event_id = excluded.event_id,
    accepted_at = excluded.accepted_at, updated_at = excluded.updated_at, topic = excluded.topic,
    partition = excluded.partition, "offset" = excluded."offset", appended_at = excluded.appended_at
  WHERE CASE WHEN r.topic = $12 AND r.partition = $13 THEN r."offset" < $14 ELSE r.appended_at < $15 END
  RETURNING id, version
)
SELECT events.inserted, states.ids, states.versions
FROM (SELECT count(*) AS inserted FROM inserted) AS events,
     (SELECT array_agg(id) AS ids, array_agg(version) AS versions FROM written) AS states"#;

/// An event with its index in the batch.
struct Item<'a> {
    index: usize,
    event: &'a DeviceDelivery,
    /// If it is its device's last event, the number of the device's events.
    applied: i64,
}

/// Whether the events are in the log's order: of one partition and one type, with increasing offsets, none redriven.
fn is_in_order(batch: &[&DeviceDelivery]) -> bool {
    batch.windows(2).all(|pair| {
        let [before, after] = pair else { return false };
        after.position.offset > before.position.offset
            && after.position.partition == before.position.partition
            && after.position.topic == before.position.topic
            && after.envelope.event_type == before.envelope.event_type
    }) && !batch.iter().any(|event| event.position.redriven)
}

/// The events by device, each device's in the order of the batch; `None` if one is there twice.
fn by_device<'a>(batch: &[&'a DeviceDelivery]) -> Option<Vec<Item<'a>>> {
    let mut items: Vec<_> = batch.iter().enumerate().map(|(index, event)| Item { index, event, applied: 0 }).collect();
    // Stable, and the same for all transactions: two of them lock rows in the same order.
    items.sort_by(|a, b| a.event.event.device_id.cmp(&b.event.event.device_id));
    for run in items.chunk_by_mut(|a, b| a.event.event.device_id == b.event.event.device_id) {
        let mut ids: Vec<_> = run.iter().map(|item| item.event.envelope.id.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return None;
        }
        if let (Ok(applied), Some(last)) = (i64::try_from(run.len()), run.last_mut()) {
            last.applied = applied;
        }
    }
    Some(items)
}

/// Applies a batch in one statement; `None` if its events are not all new and in order, and then nothing has changed.
/// The caller looks for tombstones after that.
pub(super) async fn apply_in_order(
    session: &mut Tx<'_>,
    batch: &[&DeviceDelivery],
) -> Result<Option<Applied>, Failure> {
    let (Some(first), true) = (batch.first(), is_in_order(batch)) else { return Ok(None) };
    let Some(items) = by_device(batch) else { return Ok(None) };
    let (inserted, ids, versions): (i64, Option<Vec<String>>, Option<Vec<i64>>) = sqlx::query_as(APPLY)
        .bind(column!(items, |it| it.event.event.device_id.as_str()))
        .bind(column!(items, |it| it.event.envelope.id.as_str()))
        .bind(column!(items, |it| it.event.event.payload.as_str()))
        .bind(column!(items, |it| it.event.envelope.user_id.as_deref()))
        .bind(column!(items, |it| it.event.envelope.request_id.as_deref()))
        .bind(column!(items, |it| it.event.envelope.accepted_at))
        .bind(column!(items, |it| it.event.envelope.occurred_at))
        .bind(column!(items, |it| it.event.position.offset))
        .bind(column!(items, |it| it.event.position.appended_at))
        .bind(column!(items, |it| it.applied))
        .bind(first.envelope.event_type)
        .bind(first.position.topic.as_str())
        .bind(first.position.partition)
        .bind(first.position.offset)
        .bind(batch.iter().map(|event| event.position.appended_at).min())
        .fetch_one(&mut *session)
        .await?;
    let all_are_new = usize::try_from(inserted).is_ok_and(|inserted| inserted == items.len());
    let versions: HashMap<_, _> =
        ids.iter().flatten().map(String::as_str).zip(versions.into_iter().flatten()).collect();
    let applied = if all_are_new { outcome(&items, &versions) } else { None };
    if applied.is_none() {
        take_back(session).await?;
    }
    Ok(applied)
}

/// Returns to the beginning of the transaction.
pub(super) async fn take_back(session: &mut Tx<'_>) -> Result<(), Failure> {
    sqlx::raw_sql(TAKE_BACK).execute(session).await?;
    Ok(())
}

/// The outcome of a batch of new events, from the versions that were written; `None` if a state was not.
fn outcome(items: &[Item<'_>], versions: &HashMap<&str, i64>) -> Option<Applied> {
    let mut outcome = Applied::of(items.len());
    for run in items.chunk_by(|a, b| a.event.event.device_id == b.event.event.device_id) {
        let (last, id) = run.last().map(|last| (last, &last.event.event.device_id))?;
        let version = *versions.get(id.as_str())?;
        for (number, item) in (1..).zip(run) {
            outcome.note(item.index, Outcome::Applied, Some(version - last.applied + number));
        }
        outcome.fences.push((id.cache_key(), version));
    }
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;
    use crate::devices::{Event, EventType};
    use crate::kafka::position::Position;
    use crate::runtime::json::Payload;

    fn position() -> impl Strategy<Value = Position> {
        // Few offsets and times, also times that are far apart, as after a topic was made anew.
        let place = (prop::sample::select(&["t", "u"][..]), 0..2_i32, 0..6_i64, 0..4_i64, prop::bool::weighted(0.1));
        place.prop_map(|(topic, partition, offset, time, redriven)| {
            let appended_at = OffsetDateTime::from_unix_timestamp(1_700_000_000 + 40 * time).unwrap();
            Position { redriven, ..Position::new(topic, partition, offset, appended_at) }
        })
    }

    fn event(device: u8, id: u8, position: Position) -> DeviceDelivery {
        let payload = Payload::check(Bytes::from_static(b"{}"), "").unwrap();
        let device_id = format!("d{device}").parse().unwrap();
        let event = Event { device_id, event_type: EventType::DeviceReported, payload };
        let envelope = event.envelope(format!("e{id}").parse().unwrap(), position.appended_at);
        DeviceDelivery { envelope, position, event }
    }

    fn batch() -> impl Strategy<Value = Vec<DeviceDelivery>> {
        let any = prop::collection::vec((0..3_u8, 0..4_u8, position()), 1..4);
        let in_order = (position(), prop::collection::vec((0..3_u8, 0..4_u8, 1..3_i64), 1..8));
        let in_order = in_order.prop_map(|(first, events)| {
            let mut next = first.clone();
            let place = |(device, id, step)| {
                next.offset += step;
                (device, id, next.clone())
            };
            events.into_iter().map(place).collect::<Vec<_>>()
        });
        prop_oneof![any, in_order]
            .prop_map(|events| events.into_iter().map(|(device, id, at)| event(device, id, at)).collect())
    }

    /// The condition of the statement.
    fn is_written_over(state: &Position, batch: &[&DeviceDelivery]) -> bool {
        let first = &batch[0].position;
        if state.topic == first.topic && state.partition == first.partition {
            state.offset < first.offset
        } else {
            batch.iter().all(|event| state.appended_at < event.position.appended_at)
        }
    }

    proptest! {
        #[test]
        fn in_order_each_event_is_newer_than_those_before_it_and_than_a_state_that_is_written_over(
            batch in batch(), state in position(),
        ) {
            let batch: Vec<_> = batch.iter().collect();
            prop_assume!(is_in_order(&batch));
            for (n, event) in batch.iter().enumerate() {
                prop_assert!(batch[..n].iter().all(|before| event.position.is_newer_than(&before.position)));
                prop_assert!(!is_written_over(&state, &batch) || event.position.is_newer_than(&state));
            }
        }

        #[test]
        fn the_last_event_of_each_device_has_the_number_of_its_events(batch in batch()) {
            let batch: Vec<_> = batch.iter().collect();
            let key = |event: &DeviceDelivery| (event.event.device_id.to_string(), event.envelope.id.to_string());
            let keys: BTreeSet<_> = batch.iter().map(|event| key(event)).collect();
            let Some(items) = by_device(&batch) else {
                prop_assert!(keys.len() < batch.len());
                return Ok(());
            };
            prop_assert_eq!(keys.len(), batch.len(), "none is there twice");
            let places: Vec<_> = items.iter().map(|it| (it.event.event.device_id.to_string(), it.index)).collect();
            prop_assert!(places.is_sorted() && places.len() == batch.len(), "{:?}", places);
            for (place, item) in items.iter().enumerate() {
                let device = &item.event.event.device_id;
                let is_last = items.get(place + 1).is_none_or(|next| next.event.event.device_id != *device);
                let all = batch.iter().filter(|event| event.event.device_id == *device).count();
                prop_assert_eq!(item.applied, if is_last { all as i64 } else { 0 });
            }
        }
    }

    #[test]
    fn what_is_in_order() {
        let [first, second] = [1, 2].map(|offset| Position::new("t", 0, offset, OffsetDateTime::UNIX_EPOCH));
        let in_order = |positions: [Position; 2]| {
            let events = positions.map(|position| event(0, 0, position));
            is_in_order(&events.each_ref())
        };
        assert!(in_order([first.clone(), second.clone()]));
        assert!(!in_order([second.clone(), first.clone()]));
        assert!(!in_order([first.clone(), first.clone()]));
        for other in [
            Position { topic: "u".to_owned(), ..second.clone() },
            Position { partition: 1, ..second.clone() },
            Position { redriven: true, ..second.clone() },
        ] {
            assert!(!in_order([first.clone(), other]));
        }
    }
}
