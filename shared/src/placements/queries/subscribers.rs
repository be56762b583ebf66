//! What the subscribers read and keep: a video with all that is known of its placements, and what campaigns told.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use crate::placements::received::CampaignTold;
use crate::placements::snapshot::{CampaignShot, Snapshot, VideoShot};
use crate::placements::{NewPlacement, Placed, ProductId, Range, Region, VideoId};
use crate::runtime::rfc3339;
use crate::store::{Failure, Store, Tx, column, within_deadline};

/// One statement, hence of one time. It always returns a row: the answer of a server that has become read-only does not
/// count.
macro_rules! video_with {
    ($more:expr) => {
        concat!(
            "WITH here AS (
               SELECT id, product_id, campaign_id, start_ms, end_ms, layer, region, label, version
               FROM placements WHERE video_id = $1::uuid AND deleted_at IS NULL
             )
             SELECT read_only, now() AS now, v.title, v.duration_ms, v.frame_rate, v.revision, v.ready_revision,
               (SELECT coalesce(json_agg(here), '[]')::text FROM here) AS placements, ",
            $more,
            " FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
              LEFT JOIN videos AS v ON v.id = $1::uuid"
        )
    };
}

/// `$2` and `$3` are a product and a campaign that are asked for besides.
const SNAPSHOT: &str = video_with!(
    "(SELECT coalesce(json_object_agg(id, active), '{}')::text FROM products
      WHERE id = ANY (ARRAY (SELECT product_id FROM here UNION SELECT $2::text))) AS products,
     (SELECT coalesce(json_agg(known), '[]')::text FROM (
        SELECT id, status, ends_at FROM placement_campaigns
        WHERE id = ANY (ARRAY (SELECT campaign_id FROM here UNION SELECT $3::bigint))) AS known) AS campaigns"
);
/// Of a large video, products cost more than all else.
const CONTENT: &str = video_with!("'{}' AS products, '[]' AS campaigns");

/// A video with its placements, as they are now, and nothing of their products and campaigns; `None` if there is no such
/// video.
pub async fn content(store: &Store, video: VideoId) -> Result<Option<Snapshot>, Failure> {
    read(store, video, sqlx::query(CONTENT).bind(video.to_string())).await
}

/// A video with its placements, their products and their campaigns, as they are now; `None` if there is no such video.
pub async fn snapshot(store: &Store, video: VideoId) -> Result<Option<Snapshot>, Failure> {
    let query = sqlx::query(SNAPSHOT).bind(video.to_string());
    read(store, video, query.bind(None::<&str>).bind(None::<i64>)).await
}

/// The same, with the product and the campaign of a new placement.
pub async fn snapshot_with(store: &Store, draft: &NewPlacement) -> Result<Option<Snapshot>, Failure> {
    let query = sqlx::query(SNAPSHOT).bind(draft.video.to_string());
    read(store, draft.video, query.bind(draft.product.as_str()).bind(draft.campaign)).await
}

async fn read(
    store: &Store,
    video: VideoId,
    query: Query<'_, Postgres, PgArguments>,
) -> Result<Option<Snapshot>, Failure> {
    let row = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    if row.try_get("read_only")? {
        return Err(Failure::read_only());
    }
    let Some(title) = row.try_get::<Option<String>, _>("title")? else { return Ok(None) };
    Ok(Some(Snapshot {
        video: VideoShot {
            id: video,
            title,
            duration_ms: row.try_get("duration_ms")?,
            frame_rate: row.try_get::<Option<i32>, _>("frame_rate")?.and_then(|rate| u32::try_from(rate).ok()),
            revision: row.try_get("revision")?,
            ready_revision: row.try_get("ready_revision")?,
        },
        placements: placements(row.try_get("placements")?, video)?,
        products: products(&row)?,
        campaigns: campaigns(row.try_get("campaigns")?)?,
        now: row.try_get("now")?,
    }))
}

#[derive(Deserialize)]
struct PlacementRow<'a> {
    id: &'a str,
    product_id: &'a str,
    campaign_id: Option<i64>,
    start_ms: u32,
    end_ms: u32,
    layer: u16,
    #[serde(borrow)]
    region: Option<&'a RawValue>,
    label: Option<String>,
    version: i64,
}

fn placements(rows: &str, video: VideoId) -> Result<Vec<Placed>, Failure> {
    let rows: Vec<PlacementRow<'_>> = serde_json::from_str(rows).map_err(|_| unknown("the placements"))?;
    let placed = |row: PlacementRow<'_>| {
        let region = row.region.map(Region::parse).transpose();
        Some(Placed {
            id: row.id.parse().ok()?,
            video,
            product: row.product_id.parse().ok()?,
            campaign: row.campaign_id,
            range: Range::new(row.start_ms, row.end_ms).ok()?,
            layer: row.layer,
            region: region.ok()?,
            label: row.label,
            version: row.version,
        })
    };
    rows.into_iter().map(|row| placed(row).ok_or_else(|| unknown("a placement"))).collect()
}

fn products(row: &PgRow) -> Result<BTreeMap<ProductId, bool>, Failure> {
    let rows: BTreeMap<String, bool> = parsed(row.try_get("products")?, "the products")?;
    let product = |(id, active): (String, bool)| Some((id.parse().ok()?, active));
    rows.into_iter().map(|row| product(row).ok_or_else(|| unknown("a product"))).collect()
}

#[derive(Deserialize)]
struct CampaignRow {
    id: i64,
    status: String,
    ends_at: Option<String>,
}

fn campaigns(rows: &str) -> Result<BTreeMap<i64, CampaignShot>, Failure> {
    let rows: Vec<CampaignRow> = parsed(rows, "the campaigns")?;
    let campaign = |CampaignRow { id, status, ends_at }| {
        let ends_at = match ends_at {
            Some(text) => Some(rfc3339::parse(&text)?),
            None => None,
        };
        Some((id, CampaignShot { status, ends_at }))
    };
    rows.into_iter().map(|row| campaign(row).ok_or_else(|| unknown("a campaign"))).collect()
}

fn parsed<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|_| unknown(what))
}

/// A later version may have written it, and a rollback is no fault of the event.
fn unknown(what: &str) -> Failure {
    Failure::outage(format!("this version cannot read {what} of a video"))
}

/// Locked, so that of two workers the second one sees what the first has written.
const KNOWN: &str = "SELECT id, sequence FROM placement_campaigns WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
const NOTE: &str = "
INSERT INTO placement_campaigns AS known (id, name, status, starts_at, ends_at, sequence)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status, starts_at = excluded.starts_at,
  ends_at = excluded.ends_at, sequence = excluded.sequence
WHERE known.sequence < excluded.sequence";

/// Keeps what events of campaigns told, in the log's order. For each of them, whether it was newer than what was known.
pub async fn note_campaigns(tx: &mut Tx<'_>, told: &[(i64, &CampaignTold)]) -> Result<Vec<bool>, Failure> {
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let ids = column!(told, |(_, told)| told.id);
    let known: Vec<(i64, i64)> = sqlx::query_as(KNOWN).bind(ids).fetch_all(&mut *tx).await?;
    let mut known: HashMap<i64, i64> = known.into_iter().collect();
    let mut newest: BTreeMap<i64, (i64, &CampaignTold)> = BTreeMap::new();
    let mut is_newer = Vec::with_capacity(told.len());
    for (sequence, told) in told {
        let newer = known.get(&told.id).is_none_or(|known| known < sequence);
        if newer {
            known.insert(told.id, *sequence);
            newest.insert(told.id, (*sequence, told));
        }
        is_newer.push(newer);
    }
    if !newest.is_empty() {
        let rows: Vec<(i64, &CampaignTold)> = newest.into_values().collect();
        let query = sqlx::query(NOTE)
            .bind(column!(rows, |(_, told)| told.id))
            .bind(column!(rows, |(_, told)| told.name.as_str()))
            .bind(column!(rows, |(_, told)| told.status.as_str()))
            .bind(column!(rows, |(_, told)| told.starts_at))
            .bind(column!(rows, |(_, told)| told.ends_at))
            .bind(column!(rows, |(sequence, _)| *sequence));
        query.execute(tx).await?;
    }
    Ok(is_newer)
}

/// The versions of the videos with these ids that there are.
pub async fn video_versions(tx: &mut Tx<'_>, videos: &[VideoId]) -> Result<HashMap<VideoId, i64>, Failure> {
    const VERSIONS: &str = "SELECT id::text, version FROM videos WHERE id = ANY($1::text[]::uuid[])";
    let rows = sqlx::query_as(VERSIONS).bind(column!(videos, |video| video.to_string()));
    let rows: Vec<(String, i64)> = rows.fetch_all(tx).await?;
    Ok(rows.into_iter().filter_map(|(id, version)| Some((id.parse().ok()?, version))).collect())
}
