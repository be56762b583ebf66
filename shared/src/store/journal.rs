//! A journal: a table with a row for each event that took effect, so that a repeat is harmless. Operators' commands
//! query it for every domain.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;

use super::{Failure, Store, within_deadline};

/// The declaration of a domain's journal.
#[derive(Debug, Clone, Copy)]
pub struct Journal {
    /// The table.
    pub table: &'static str,
    /// The condition for its row of an event: `asked.key` is the key of the event's record, `asked.id` the event's id.
    pub matches: &'static str,
    /// The event's outcome: a column, or an expression.
    pub outcome: &'static str,
}

/// A record's key and its event's id, as a dead letter has them.
pub type EventName = (String, String);

impl Journal {
    /// The outcomes of those of these events that have a row.
    pub async fn outcomes(&self, store: &Store, events: &[EventName]) -> Result<HashMap<EventName, String>, Failure> {
        let Self { table, matches, outcome } = self;
        let (keys, ids) = storable(events);
        let query = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT asked.key, asked.id, {outcome} FROM unnest($1::text[], $2::text[]) AS asked (key, id)
             JOIN {table} ON {matches}"
        )));
        let query = query.bind(keys).bind(ids);
        let rows: Vec<(String, String, String)> =
            within_deadline!(store, |session| async { Ok(query.fetch_all(session).await?) })?;
        Ok(rows.into_iter().map(|(key, id, outcome)| ((key, id), outcome)).collect())
    }
}

/// The keys and ids of these events, as columns. PostgreSQL's `text` cannot contain a NUL, so no row has one.
pub(super) fn storable(events: &[EventName]) -> (Vec<&str>, Vec<&str>) {
    let storable = events.iter().filter(|(key, id)| !key.contains('\0') && !id.contains('\0'));
    storable.map(|(key, id)| (key.as_str(), id.as_str())).unzip()
}
