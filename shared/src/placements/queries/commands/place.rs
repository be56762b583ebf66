//! Creates, changes and deletes placements.

use sqlx::Row as _;

use super::rows::{is_video, placed, region_text, touch};
use super::{Call, Decide, Decision, Done, May, Refused, Render, Written, run};
use crate::cache::Fence;
use crate::placements::events::{
    PLACEMENT_CREATED, PLACEMENT_DELETED, PLACEMENT_UPDATED, deleted_data, placement_data,
};
use crate::placements::queries::json::{files, placement, with_member, written};
use crate::placements::{NewPlacement, Placed, PlacementId, PlacementPatch, VideoId};
use crate::store::outbox::{Boundary, publish};
use crate::store::{Failure, Store, Tx, column};

const INSERT: &str = concat!(
    "INSERT INTO placements AS p (id, video_id, product_id, campaign_id, start_ms, end_ms, layer, region, label, version,
                                  created_at, updated_at)
     SELECT id::uuid, $1::uuid, product_id, campaign_id, start_ms, end_ms, layer, region::jsonb, label, version,
            statement_timestamp(), statement_timestamp()
     FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::text[], $9::text[],
                 $10::bigint[])
          AS made (id, product_id, campaign_id, start_ms, end_ms, layer, region, label, version)
     RETURNING p.version, ",
    placement!(),
    " AS body"
);

/// The video of a placement never changes, so that its boundary can be locked next.
const VIDEO: &str = "SELECT video_id::text FROM placements WHERE id = $1::uuid AND deleted_at IS NULL";

/// Under the lock. A statement of its own, which sees what others wrote while they had it.
const READ: &str = concat!(
    "SELECT p.video_id::text, p.product_id, p.campaign_id, p.start_ms, p.end_ms, p.layer, p.region::text, p.label,
            p.version, v.revision, v.ready_revision, v.version AS of_video, ",
    placement!(),
    " AS body FROM placements AS p JOIN videos AS v ON v.id = p.video_id
     WHERE p.id = $1::uuid AND p.deleted_at IS NULL"
);

const UPDATE: &str = concat!(
    "UPDATE placements AS p
     SET product_id = $2, campaign_id = $3, start_ms = $4, end_ms = $5, layer = $6, region = $7::jsonb, label = $8,
         version = $9, updated_at = statement_timestamp()
     WHERE p.id = $1::uuid RETURNING ",
    placement!(),
    " AS body"
);

const DELETE: &str = "
UPDATE placements SET deleted_at = statement_timestamp(), updated_at = statement_timestamp(), version = $2
WHERE id = $1::uuid";

/// Creates a placement.
pub async fn create_placement(
    store: &Store,
    call: &Call<'_>,
    new: NewPlacement,
    render: Render<'_>,
) -> Result<Done, Failure> {
    let video = new.video;
    run(store, call, render, Creation { video, new: vec![(PlacementId::generate(), new)], as_one: true }).await
}

/// Creates placements of one video, all or none.
pub async fn create_placements(
    store: &Store,
    call: &Call<'_>,
    video: VideoId,
    new: Vec<NewPlacement>,
    render: Render<'_>,
) -> Result<Done, Failure> {
    let new = new.into_iter().map(|new| (PlacementId::generate(), new)).collect();
    run(store, call, render, Creation { video, new, as_one: false }).await
}

struct Creation {
    video: VideoId,
    new: Vec<(PlacementId, NewPlacement)>,
    /// Whether the answer is the only one of them.
    as_one: bool,
}

impl Decide for Creation {
    async fn decide(&self, call: &Call<'_>, tx: &mut Tx<'_>) -> Result<Decision, Failure> {
        let Self { video, new, as_one } = self;
        if !is_video(tx, *video).await? {
            return Ok(Err(Refused::NoVideo));
        }
        let mut boundary = Boundary::lock(tx, &video.aggregate()).await?;
        let all: Vec<Placed> =
            new.iter().map(|(id, new)| Placed::of(new.clone(), *id, boundary.next_number())).collect();
        let revision = boundary.last_number();
        let more = i32::try_from(all.len()).unwrap_or(i32::MAX);
        let Some(ready_revision) = touch(tx, *video, revision, more).await? else {
            return Ok(Err(Refused::TooMany));
        };
        let bodies = insert(tx, *video, &all).await?;
        let event = |placed: &Placed| {
            let subject = placed.id.to_string();
            call.event(&PLACEMENT_CREATED, &boundary, placed.version, subject, placement_data(placed))
        };
        let events: Vec<_> = all.iter().map(event).collect();
        publish(tx, vec![boundary], &events).await?;
        let files = files(revision, ready_revision);
        let written = match (&all[..], &bodies[..]) {
            ([placed], [body]) if *as_one => {
                Written { id: placed.id.to_string(), version: placed.version, body: with_member(body, &files) }
            }
            _ => {
                let body = format!(r#"{{"placements":[{}],"revision":{revision},{files}}}"#, bodies.join(","));
                Written { id: video.to_string(), version: revision, body }
            }
        };
        Ok(Ok((written, vec![(video.cache_key(), revision)])))
    }
}

/// Inserts placements; returns their bodies, in their order.
async fn insert(tx: &mut Tx<'_>, video: VideoId, all: &[Placed]) -> Result<Vec<String>, Failure> {
    let query = sqlx::query(INSERT)
        .bind(video.to_string())
        .bind(column!(all, |placed| placed.id.to_string()))
        .bind(column!(all, |placed| placed.product.as_str()))
        .bind(column!(all, |placed| placed.campaign))
        .bind(column!(all, |placed| i64::from(placed.range.start())))
        .bind(column!(all, |placed| i64::from(placed.range.end())))
        .bind(column!(all, |placed| i32::from(placed.layer)))
        .bind(column!(all, |placed| region_text(placed.region)))
        .bind(column!(all, |placed| placed.label.as_deref()))
        .bind(column!(all, |placed| placed.version));
    let mut bodies = Vec::with_capacity(all.len());
    for row in query.fetch_all(tx).await? {
        bodies.push((row.try_get::<i64, _>("version")?, row.try_get("body")?));
    }
    bodies.sort_unstable_by_key(|(version, _)| *version);
    Ok(bodies.into_iter().map(|(_, body)| body).collect())
}

/// Changes a placement, if `may` takes its version. A change without a difference makes no new version, and no event.
pub async fn patch_placement(
    store: &Store,
    call: &Call<'_>,
    id: PlacementId,
    may: May<'_, i64>,
    patch: &PlacementPatch,
    render: Render<'_>,
) -> Result<Done, Failure> {
    run(store, call, render, Change { id, may, patch: Some(patch) }).await
}

/// Deletes a placement, if `may` takes its version.
pub async fn delete_placement(
    store: &Store,
    call: &Call<'_>,
    id: PlacementId,
    may: May<'_, i64>,
    render: Render<'_>,
) -> Result<Done, Failure> {
    run(store, call, render, Change { id, may, patch: None }).await
}

struct Change<'a> {
    id: PlacementId,
    may: May<'a, i64>,
    /// `None`: it is deleted.
    patch: Option<&'a PlacementPatch>,
}

impl Decide for Change<'_> {
    async fn decide(&self, call: &Call<'_>, tx: &mut Tx<'_>) -> Result<Decision, Failure> {
        let Self { id, may, patch } = *self;
        let video: Option<String> = sqlx::query_scalar(VIDEO).bind(id.to_string()).fetch_optional(&mut *tx).await?;
        let Some(video) = video else { return Ok(Err(Refused::NoPlacement)) };
        let video: VideoId = written(video.parse())?;
        let mut boundary = Boundary::lock(tx, &video.aggregate()).await?;
        // It may have been deleted meanwhile.
        let row = sqlx::query(READ).bind(id.to_string()).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Ok(Err(Refused::NoPlacement)) };
        let old = placed(&row, id)?;
        if !may(old.version) {
            return Ok(Err(Refused::Stale));
        }
        let Some(patch) = patch else { return delete(call, tx, boundary, &old).await.map(Ok) };
        let changed = match patch.apply(&old) {
            Ok(changed) => changed,
            Err(faults) => return Ok(Err(Refused::Faults(faults))),
        };
        if changed == old {
            let files = files(row.try_get("revision")?, row.try_get("ready_revision")?);
            let body = with_member(row.try_get("body")?, &files);
            let written = Written { id: id.to_string(), version: old.version, body };
            // The change that it repeats may have ended before its fence.
            return Ok(Ok((written, vec![(video.cache_key(), row.try_get("of_video")?)])));
        }
        let changed = Placed { version: boundary.next_number(), ..changed };
        let ready_revision = touched(touch(tx, video, changed.version, 0).await?)?;
        let body = update(tx, &changed).await?;
        let event =
            call.event(&PLACEMENT_UPDATED, &boundary, changed.version, id.to_string(), placement_data(&changed));
        publish(tx, vec![boundary], &[event]).await?;
        let body = with_member(&body, &files(changed.version, ready_revision));
        let written = Written { id: id.to_string(), version: changed.version, body };
        Ok(Ok((written, vec![(video.cache_key(), changed.version)])))
    }
}

async fn update(tx: &mut Tx<'_>, placed: &Placed) -> Result<String, Failure> {
    let query = sqlx::query_scalar(UPDATE)
        .bind(placed.id.to_string())
        .bind(placed.product.as_str())
        .bind(placed.campaign)
        .bind(i64::from(placed.range.start()))
        .bind(i64::from(placed.range.end()))
        .bind(i32::from(placed.layer))
        .bind(region_text(placed.region))
        .bind(placed.label.as_deref())
        .bind(placed.version);
    Ok(query.fetch_one(tx).await?)
}

async fn delete(
    call: &Call<'_>,
    tx: &mut Tx<'_>,
    mut boundary: Boundary,
    old: &Placed,
) -> Result<(Written, Vec<Fence>), Failure> {
    let Placed { id, video, product, .. } = old;
    let revision = boundary.next_number();
    sqlx::query(DELETE).bind(id.to_string()).bind(revision).execute(&mut *tx).await?;
    touched(touch(tx, *video, revision, -1).await?)?;
    let data = deleted_data(*id, *video, product, revision);
    let event = call.event(&PLACEMENT_DELETED, &boundary, revision, id.to_string(), data);
    publish(tx, vec![boundary], &[event]).await?;
    let written = Written { id: id.to_string(), version: revision, body: String::new() };
    Ok((written, vec![(video.cache_key(), revision)]))
}

/// A video that gets no more placements has never too many.
fn touched(ready_revision: Option<i64>) -> Result<i64, Failure> {
    ready_revision.ok_or_else(|| Failure::failed("a placement's video is not there"))
}
