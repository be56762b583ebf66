//! Rows that commands read and write.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::placements::queries::json::written;
use crate::placements::{MAX_OF_VIDEO, Placed, PlacementId, Range, Region, VideoId};
use crate::store::{Failure, Tx};

/// Before the boundary is locked, which makes one where there is none: a video is never deleted.
const EXISTS: &str = "SELECT EXISTS (SELECT FROM videos WHERE id = $1::uuid)";

/// `$3` placements more, unless there would be too many.
const TOUCH: &str = "
UPDATE videos SET revision = $2, version = $2, placements = placements + $3, updated_at = statement_timestamp()
WHERE id = $1::uuid AND placements + $3 <= $4 RETURNING ready_revision";

pub(super) async fn is_video(tx: &mut Tx<'_>, id: VideoId) -> Result<bool, Failure> {
    Ok(sqlx::query_scalar(EXISTS).bind(id.to_string()).fetch_one(tx).await?)
}

/// Gives a video a new revision, and this many placements more; returns the revision whose files are ready. `None`: it
/// would have too many, and nothing has changed.
pub(super) async fn touch(tx: &mut Tx<'_>, id: VideoId, revision: i64, more: i32) -> Result<Option<i64>, Failure> {
    let query = sqlx::query_scalar(TOUCH).bind(id.to_string()).bind(revision).bind(more).bind(MAX_OF_VIDEO);
    Ok(query.fetch_optional(tx).await?)
}

/// A placement from a row with its columns: `video_id`, `product_id`, `campaign_id`, `start_ms`, `end_ms`, `layer`,
/// `region`, `label` and `version`. Ids and the region are texts.
pub(super) fn placed(row: &PgRow, id: PlacementId) -> Result<Placed, Failure> {
    let (start, end, layer): (i64, i64, i32) =
        (row.try_get("start_ms")?, row.try_get("end_ms")?, row.try_get("layer")?);
    let region: Option<&str> = row.try_get("region")?;
    Ok(Placed {
        id,
        video: written(row.try_get::<&str, _>("video_id")?.parse())?,
        product: written(row.try_get::<&str, _>("product_id")?.parse())?,
        campaign: row.try_get("campaign_id")?,
        range: written(Range::new(written(start.try_into())?, written(end.try_into())?))?,
        layer: written(layer.try_into())?,
        region: region.map(self::region).transpose()?,
        label: row.try_get("label")?,
        version: row.try_get("version")?,
    })
}

fn region(json: &str) -> Result<Region, Failure> {
    let raw = written(serde_json::from_str(json))?;
    Region::parse(raw).map_err(|_| Failure::failed("a row has a region that is never written"))
}

/// A region as its column has it.
pub(super) fn region_text(region: Option<Region>) -> Option<String> {
    // Serializing numbers cannot fail.
    region.map(|region| serde_json::to_string(&region).unwrap_or_default())
}
