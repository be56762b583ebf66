//! Reads what happened to a device, newest first, a page at a time.

use sqlx::Row;
use time::OffsetDateTime;

use super::session::Session;
use super::{Store, StoreError, within_deadline};
use crate::event::DeviceId;

/// How many bytes of events a page holds before it ends early; its first event is always there.
pub const PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// A place in a history: events behind it are older. It stays what it is whatever is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When the event at this place was accepted, in whole microseconds.
    pub accepted_at: OffsetDateTime,
    /// Its id: of several accepted at once the greater comes first.
    pub event_id: String,
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Events as JSON objects, newest first.
    pub items: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// One range of the index `events_history`: the row comparison is its condition, with and without
/// a cursor. The sum ends the page early, so that large payloads do not make a large answer.
const SQL: &str = r#"
SELECT event_id, accepted_at, body, found
FROM (SELECT event_id, accepted_at, body, count(*) OVER () AS found,
             sum(octet_length(body)) OVER (ORDER BY accepted_at DESC, event_id DESC) - octet_length(body) AS bytes
      FROM (SELECT event_id, accepted_at,
                   '{"event_id":"' || event_id || '","type":' || to_json(type)
                   || ',"occurred_at":"' || to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   || '","outcome":"' || outcome || '","request_id":' || coalesce(to_json(request_id)::text, 'null')
                   || ',"payload":' || payload::text || '}' AS body
            FROM events
            WHERE device_id = $1
              AND (accepted_at, event_id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::text, ''))
            ORDER BY accepted_at DESC, event_id DESC
            LIMIT $4) AS page) AS measured
WHERE bytes < $5
ORDER BY accepted_at DESC, event_id DESC"#;

impl Store {
    /// At most `limit` events of a device that are older than `before`, newest first.
    ///
    /// # Errors
    /// PostgreSQL away, or too slow.
    pub async fn history(&self, id: &DeviceId, limit: u16, before: Option<&Cursor>) -> Result<Page, StoreError> {
        within_deadline!(self, |session| page(session, id, limit, before))
    }
}

async fn page(
    session: &mut Session<'_>,
    id: &DeviceId,
    limit: u16,
    before: Option<&Cursor>,
) -> Result<Page, StoreError> {
    let rows = sqlx::query(SQL)
        .bind(id.as_str())
        .bind(before.map(|cursor| cursor.accepted_at))
        .bind(before.map(|cursor| cursor.event_id.as_str()))
        // One more than asked for tells whether there is another page.
        .bind(i64::from(limit) + 1)
        .bind(PAGE_BYTES)
        .fetch_all(session)
        .await?;
    let more = match rows.first() {
        Some(row) => row.try_get::<i64, _>("found")? > i64::try_from(rows.len().min(limit.into())).unwrap_or(i64::MAX),
        None => false,
    };
    let mut page = Page { items: Vec::with_capacity(rows.len()), next: None };
    for (place, row) in (1..=limit).zip(&rows) {
        page.items.push(row.try_get("body")?);
        let is_last = place == limit || usize::from(place) == rows.len();
        if more && is_last {
            page.next = Some(Cursor { accepted_at: row.try_get("accepted_at")?, event_id: row.try_get("event_id")? });
        }
    }
    Ok(page)
}
