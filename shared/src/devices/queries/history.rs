//! Reads the events of a device, newest first, page by page.

use sqlx::Row;
use time::OffsetDateTime;

use crate::devices::DeviceId;
use crate::store::{Failure, Store, Tx, within_deadline};

/// A page ends when its events reach this size, in bytes; it always has at least one event.
pub const PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// A position in a history: the next page has the older events. New events do not move it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// When the event at this position was accepted, in whole microseconds.
    pub accepted_at: OffsetDateTime,
    /// The event's id: of several events accepted at the same time, the greater id comes first.
    pub event_id: String,
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Item>,
    /// Whether there are older events.
    pub more: bool,
}

/// An event of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The event as a JSON object.
    pub body: String,
    /// Its position: a page may end here, too.
    pub cursor: Cursor,
}

/// The SQL for the next older event, rendered. The comparisons are conditions on the index `events_history`, with and
/// without a cursor and a beginning. The `LIMIT` keeps the planner from rendering the event once for each use.
macro_rules! behind {
    ($accepted_at:literal, $event_id:literal) => {
        concat!(
            r#"(SELECT event_id, accepted_at,
                       '{"event_id":"' || event_id || '","type":' || to_json(type)
                       || ',"occurred_at":"' || to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                       || '","accepted_at":"' || to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                       || '","outcome":"' || outcome || '","request_id":' || coalesce(to_json(request_id)::text, 'null')
                       || ',"payload":' || payload::text || '}' AS body
                FROM events WHERE device_id = $1 AND accepted_at >= coalesce($6::timestamptz, '-infinity')
                      AND (accepted_at, event_id) < ("#,
            $accepted_at,
            ", ",
            $event_id,
            ") ORDER BY accepted_at DESC, event_id DESC LIMIT 1)"
        )
    };
}

/// Reads one event after the other until there are enough events or bytes, so that no event is rendered in vain: the
/// size of a payload as text is known only after rendering, and may be a thousand times the stored size.
const SQL: &str = concat!(
    "WITH RECURSIVE page AS (
       SELECT first.*, 1 AS number, octet_length(body)::bigint AS bytes FROM ",
    behind!("coalesce($2::timestamptz, 'infinity')", "coalesce($3::text, '')"),
    " AS first
       UNION ALL
       SELECT next.*, number + 1, bytes + octet_length(next.body) FROM page, LATERAL ",
    behind!("page.accepted_at", "page.event_id"),
    " AS next WHERE number < $4 AND bytes < $5)
     SELECT read_only, event_id, accepted_at, body,
            CASE WHEN number = (SELECT max(number) FROM page) THEN (
              SELECT true FROM events
              WHERE device_id = $1 AND accepted_at >= coalesce($6::timestamptz, '-infinity')
                AND (accepted_at, event_id) < (page.accepted_at, page.event_id)
              ORDER BY accepted_at DESC, event_id DESC LIMIT 1) END AS more
     FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
     LEFT JOIN page ON true ORDER BY number"
);

/// The part of a history that a caller asks for; all of it by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Only events that were accepted then or later.
    pub from: Option<OffsetDateTime>,
    /// Only events that are older than this position.
    pub before: Option<Cursor>,
}

/// At most `limit` events of a device, newest first.
pub async fn history(store: &Store, id: &DeviceId, limit: u16, span: &Span) -> Result<Page, Failure> {
    within_deadline!(store, |session| page(session, id, limit, span))
}

async fn page(session: &mut Tx<'_>, id: &DeviceId, limit: u16, span: &Span) -> Result<Page, Failure> {
    let before = span.before.as_ref();
    let rows = sqlx::query(SQL)
        .bind(id.as_str())
        .bind(before.map(|cursor| cursor.accepted_at))
        .bind(before.map(|cursor| cursor.event_id.as_str()))
        .bind(i32::from(limit))
        .bind(PAGE_BYTES)
        .bind(span.from)
        .fetch_all(session)
        .await?;
    let mut page = Page { items: Vec::with_capacity(rows.len()), more: false };
    for row in &rows {
        // As for a resource, there is always a row, which says whether the server accepts writes.
        if row.try_get("read_only")? {
            return Err(Failure::read_only());
        }
        let Some(body) = row.try_get("body")? else { continue };
        let cursor = Cursor { accepted_at: row.try_get("accepted_at")?, event_id: row.try_get("event_id")? };
        page.items.push(Item { body, cursor });
        // Only the last row has it.
        page.more = row.try_get::<Option<bool>, _>("more")? == Some(true);
    }
    Ok(page)
}
