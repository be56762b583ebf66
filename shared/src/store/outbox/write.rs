//! Writes events into the outbox.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Boundary, MAX_AGGREGATE_BYTES, MAX_DATA_BYTES, Outbound};
use crate::runtime::rfc3339;
use crate::store::{Failure, Tx, column};

/// Ids are drawn in the order of the list.
const PUBLISH: &str = "
WITH numbers AS (
  UPDATE sequences SET last = taken.last
  FROM unnest($1::text[], $2::bigint[]) AS taken (aggregate, last) WHERE sequences.aggregate = taken.aggregate
)
INSERT INTO outbox (event_id, aggregate, sequence, type, attributes, data)
SELECT event_id::uuid, aggregate, sequence, type, attributes::jsonb, data
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
  WITH ORDINALITY AS events (event_id, aggregate, sequence, type, attributes, data, place)
ORDER BY place";

/// Writes events into the outbox, in the order of the list, and the numbers of their boundaries.
///
/// It writes nothing, and fails, if an event's data breaks the closed schema of its type, if the data or the aggregate's
/// name is too long, or if the numbers that were taken are not those of the events, in order: each of them exactly once.
pub async fn publish(tx: &mut Tx<'_>, boundaries: Vec<Boundary>, events: &[Outbound]) -> Result<(), Failure> {
    each_number_once(&boundaries, events)?;
    for event in events {
        check(event)?;
    }
    let taken: Vec<_> = boundaries.iter().filter(|boundary| boundary.taken > boundary.last).collect();
    if events.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(PUBLISH)
        .bind(column!(taken, |boundary| &**boundary.aggregate()))
        .bind(column!(taken, |boundary| boundary.taken))
        .bind(column!(events, |event| event.id.as_str()))
        .bind(column!(events, |event| &*event.aggregate))
        .bind(column!(events, |event| event.sequence))
        .bind(column!(events, |event| event.schema.event_type))
        .bind(column!(events, |event| attributes(event)))
        .bind(column!(events, |event| event.data.as_str()));
    query.execute(tx).await?;
    Ok(())
}

/// A number without an event would be a gap, for which readers wait.
fn each_number_once(boundaries: &[Boundary], events: &[Outbound]) -> Result<(), Failure> {
    let mut next: HashMap<&str, i64> = HashMap::with_capacity(boundaries.len());
    for boundary in boundaries {
        if next.insert(boundary.aggregate(), boundary.last).is_some() {
            return Err(Failure::failed(format!("the boundary {} was locked twice", boundary.aggregate())));
        }
    }
    for Outbound { aggregate, sequence, schema, .. } in events {
        let last = next.get_mut(&**aggregate).ok_or_else(|| {
            Failure::failed(format!("an event {} is of {aggregate}, which is not locked", schema.event_type))
        })?;
        // The greatest number has none behind it.
        if Some(*sequence) != last.checked_add(1) {
            return Err(Failure::failed(format!(
                "an event {} of {aggregate} has the number {sequence} after {last}",
                schema.event_type
            )));
        }
        *last = *sequence;
    }
    match boundaries.iter().find(|boundary| next.get(&**boundary.aggregate()) != Some(&boundary.taken)) {
        Some(boundary) => Err(Failure::failed(format!(
            "the boundary {} gave numbers up to {}, and not each of them has an event",
            boundary.aggregate(),
            boundary.taken
        ))),
        None => Ok(()),
    }
}

fn check(event: &Outbound) -> Result<(), Failure> {
    if event.aggregate.len() > MAX_AGGREGATE_BYTES {
        return Err(Failure::failed(format!(
            "the aggregate of {} has a name of {} bytes: {MAX_AGGREGATE_BYTES} are the most",
            event.schema.event_type,
            event.aggregate.len()
        )));
    }
    if event.data.len() > MAX_DATA_BYTES {
        return Err(Failure::failed(format!(
            "the data of {} has {} bytes: {MAX_DATA_BYTES} are the most",
            event.schema.event_type,
            event.data.len()
        )));
    }
    event.schema.check(&event.data).map_err(|fault| Failure::failed(fault.to_string()))
}

/// The attributes that have no column.
fn attributes(event: &Outbound) -> String {
    let at = rfc3339::format(event.at);
    let own = [
        ("source", event.source.to_owned()),
        ("subject", event.subject.clone()),
        ("time", at.clone()),
        ("acceptedat", at),
        ("partitionkey", event.aggregate.to_string()),
        ("sequence", format!("{:020}", event.sequence)),
        ("dataschema", event.schema.uri()),
    ];
    let cause = event.cause.attributes().map(|(name, value)| (name, value.to_owned()));
    let all: Map<String, Value> =
        own.into_iter().chain(cause).map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
    Value::Object(all).to_string()
}
