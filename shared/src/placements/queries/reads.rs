//! Reads videos, placements, products and validations, rendered for clients and the cache.
//!
//! There is always a row, which says whether the server accepts writes: the rows of a server that does not may be those of
//! the old side of a switchover.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::json::{placement, product, time, video};
use crate::placements::{PlacementId, ProductId, VideoId};
use crate::store::{Failure, Loaded, Store, within_deadline};

macro_rules! server {
    () => {
        " FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server "
    };
}

const LOAD_VIDEOS: &str = concat!(
    "SELECT read_only, v.id::text AS id, v.version, ",
    video!(),
    " AS body",
    server!(),
    "LEFT JOIN videos AS v ON v.id = ANY($1::text[]::uuid[])"
);

macro_rules! count {
    ($severity:literal) => {
        concat!(
            "(SELECT count(*) FROM jsonb_array_elements(v.findings) AS one WHERE one ->> 'severity' = '",
            $severity,
            "')"
        )
    };
}

/// Whether the video has changed since is not a part of it: that does not depend on the validation.
const LOAD_VALIDATIONS: &str = concat!(
    "SELECT read_only, v.id::text AS id, v.version, ",
    r#"'{"version":' || v.version || ',"id":"' || v.id || '","videoId":"' || v.video_id || '","status":"' || v.status
       || '","revision":' || v.revision
       || CASE WHEN v.findings IS NULL THEN '' ELSE ',"errors":' || "#,
    count!("error"),
    r#" || ',"warnings":' || "#,
    count!("warning"),
    r#" || ',"findings":' || v.findings::text END
       || coalesce(',"error":' || to_json(v.error), '') || ',"requestedAt":' || "#,
    time!("v.requested_at"),
    r#" || ',"finishedAt":' || "#,
    time!("v.finished_at"),
    r#" || ',"updatedAt":' || "#,
    time!("v.updated_at"),
    r#" || '}' AS body"#,
    server!(),
    "LEFT JOIN validations AS v ON v.id = ANY($1::text[]::uuid[])"
);

const PLACEMENT: &str = concat!(
    "SELECT read_only, p.version, ",
    placement!(),
    " AS body",
    server!(),
    "LEFT JOIN placements AS p ON p.id = $1::uuid AND p.deleted_at IS NULL"
);

/// In the order of an index. `$2` to `$3` is the time that they meet, `$4` and `$5` are where the last page ended.
const PLACEMENTS: &str = concat!(
    "SELECT read_only, v.revision, page.id, page.start_ms, page.body",
    server!(),
    "LEFT JOIN videos AS v ON v.id = $1::uuid
     LEFT JOIN LATERAL (
       SELECT p.id::text AS id, p.id AS place, p.start_ms, ",
    placement!(),
    " AS body FROM placements AS p
       WHERE p.video_id = v.id AND p.deleted_at IS NULL AND p.start_ms < $3 AND p.end_ms > $2 AND $2 < $3
         AND (p.start_ms, p.id) > ($4::bigint, $5::uuid)
       ORDER BY p.start_ms, p.id LIMIT $6) AS page ON true
     ORDER BY page.start_ms, page.place"
);

/// A page of a list by id: there is always a row.
macro_rules! page {
    ($of:literal, $rows:expr) => {
        concat!(
            "SELECT read_only, page.id, page.body",
            server!(),
            "LEFT JOIN LATERAL (",
            $rows,
            $of,
            ") AS page ON true ORDER BY page.place"
        )
    };
}

const VIDEOS: &str = page!(
    " FROM videos AS v WHERE v.id > $1::uuid ORDER BY v.id LIMIT $2",
    concat!("SELECT v.id::text AS id, v.id AS place, ", video!(), " AS body")
);

const PRODUCTS: &str = page!(
    " FROM products AS p WHERE p.id > $1 ORDER BY p.id LIMIT $2",
    concat!("SELECT p.id AS id, p.id AS place, ", product!(), " AS body")
);

const PRODUCT: &str =
    concat!("SELECT read_only, p.version, ", product!(), " AS body", server!(), "LEFT JOIN products AS p ON p.id = $1");

/// Reads the videos with these ids that exist.
pub async fn load_videos(store: &Store, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    store.load(ids, LOAD_VIDEOS).await
}

/// Reads the validations with these ids that exist.
pub async fn load_validations(store: &Store, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    store.load(ids, LOAD_VALIDATIONS).await
}

/// A placement or a product, rendered for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its version.
    pub version: i64,
    /// A JSON object.
    pub body: String,
}

/// The placement with this id, unless it is deleted.
pub async fn placement(store: &Store, id: PlacementId) -> Result<Option<Shown>, Failure> {
    shown(store, PLACEMENT, &id.to_string()).await
}

/// The product with this id.
pub async fn product(store: &Store, id: &ProductId) -> Result<Option<Shown>, Failure> {
    shown(store, PRODUCT, id.as_str()).await
}

async fn shown(store: &Store, sql: &'static str, id: &str) -> Result<Option<Shown>, Failure> {
    let query = sqlx::query(sql).bind(id);
    let row = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    writable(&row)?;
    let Some(version) = row.try_get("version")? else { return Ok(None) };
    Ok(Some(Shown { version, body: row.try_get("body")? }))
}

fn writable(row: &PgRow) -> Result<(), Failure> {
    if row.try_get("read_only")? { Err(Failure::read_only()) } else { Ok(()) }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// JSON objects.
    pub items: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<T>,
}

/// At most `limit` videos with greater ids than `after`: in the order in which they were made.
pub async fn videos(store: &Store, after: Option<VideoId>, limit: u16) -> Result<Page<VideoId>, Failure> {
    list(store, VIDEOS, &after.unwrap_or(VideoId::from(Uuid::nil())).to_string(), limit).await
}

/// At most `limit` products with greater ids than `after`, in the order of the bytes of their ids.
pub async fn products(store: &Store, after: Option<&ProductId>, limit: u16) -> Result<Page<ProductId>, Failure> {
    list(store, PRODUCTS, after.map_or("", ProductId::as_str), limit).await
}

async fn list<T: FromStr>(store: &Store, sql: &'static str, after: &str, limit: u16) -> Result<Page<T>, Failure> {
    let query = sqlx::query(sql).bind(after).bind(more_than(limit));
    let rows = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    page_of(&rows, limit, |row| Ok(row.try_get::<&str, _>("id")?.parse().ok()))
}

/// One more, which shows that there are more.
fn more_than(limit: u16) -> i64 {
    i64::from(limit).saturating_add(1)
}

/// The page of these rows; `place` is where one of them stands.
fn page_of<T>(
    rows: &[PgRow],
    limit: u16,
    place: impl Fn(&PgRow) -> Result<Option<T>, Failure>,
) -> Result<Page<T>, Failure> {
    let mut page = Page { items: Vec::with_capacity(rows.len()), next: None };
    let mut last = None;
    for row in rows {
        writable(row)?;
        let Some(body) = row.try_get("body")? else { continue };
        if page.items.len() == usize::from(limit) {
            page.next = last.map(&place).transpose()?.flatten();
            break;
        }
        page.items.push(body);
        last = Some(row);
    }
    Ok(page)
}

/// Which placements of a video are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Those that end after this millisecond.
    pub from: u32,
    /// Those that begin before this millisecond.
    pub to: u32,
    /// Those behind this place.
    pub after: Option<PlaceInVideo>,
    /// So many at most.
    pub limit: u16,
}

/// Where a placement stands in the list of its video: by its start, then by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlaceInVideo {
    start: i64,
    id: PlacementId,
}

/// For callers it is opaque.
impl fmt::Display for PlaceInVideo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.start, self.id)
    }
}

impl FromStr for PlaceInVideo {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (start, id) = text.split_once('.').ok_or(())?;
        let place = Self { start: start.parse().map_err(|_| ())?, id: id.parse().map_err(|_| ())? };
        // One spelling, as it was told.
        if place.start >= 0 && place.to_string() == text { Ok(place) } else { Err(()) }
    }
}

/// Placements of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placements {
    /// In the order of their starts.
    pub page: Page<PlaceInVideo>,
    /// The video's revision.
    pub revision: i64,
}

/// Placements of a video, if there is such a video.
pub async fn placements_of(store: &Store, video: VideoId, asked: Asked) -> Result<Option<Placements>, Failure> {
    let Asked { from, to, after, limit } = asked;
    let (start, id) = after.map_or((-1, PlacementId::from(Uuid::nil())), |place| (place.start, place.id));
    let query = sqlx::query(PLACEMENTS)
        .bind(video.to_string())
        .bind(i64::from(from))
        .bind(i64::from(to))
        .bind(start)
        .bind(id.to_string())
        .bind(more_than(limit));
    let rows = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    let page = page_of(&rows, limit, |row| {
        let id = row.try_get::<&str, _>("id")?.parse().ok();
        let start = row.try_get("start_ms")?;
        Ok(id.map(|id| PlaceInVideo { start, id }))
    })?;
    let revision = rows.first().map(|row| row.try_get("revision")).transpose()?.flatten();
    Ok(revision.map(|revision| Placements { page, revision }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_told() {
        let id = PlacementId::generate();
        for bad in
            ["", ".", "7", "7.x", &format!("-1.{id}"), &format!("+7.{id}"), &format!("07.{id}"), &format!("7.{id}.")]
        {
            assert_eq!(bad.parse::<PlaceInVideo>(), Err(()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_place_comes_back(start in 0..i64::MAX, id in any::<u128>()) {
            let place = PlaceInVideo { start, id: PlacementId::from(Uuid::from_u128(id)) };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}
