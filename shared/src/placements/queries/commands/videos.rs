//! Creates and changes videos, and asks for validations of them.

use sqlx::Row as _;

use super::rows::is_video;
use super::{Call, Decide, Decision, Done, May, Refused, Render, Written, run};
use crate::kafka::ids::EventId;
use crate::placements::events::{VALIDATION_REQUESTED, VIDEO_CREATED, VIDEO_UPDATED, requested_data, video_data};
use crate::placements::queries::json::{video, written};
use crate::placements::{NewVideo, ValidationId, VideoId, VideoPatch};
use crate::store::outbox::{Boundary, Outbound, publish};
use crate::store::{Failure, Store, Tx};

const INSERT: &str = concat!(
    "INSERT INTO videos AS v (id, title, duration_ms, frame_rate, revision, version, created_at, updated_at)
     VALUES ($1::uuid, $2, $3, $4, $5, $5, statement_timestamp(), statement_timestamp()) RETURNING ",
    video!(),
    " AS body"
);

const READ: &str = concat!(
    "SELECT v.title, v.duration_ms, v.frame_rate, v.revision, v.version, ",
    video!(),
    " AS body FROM videos AS v WHERE v.id = $1::uuid"
);

const UPDATE: &str = concat!(
    "UPDATE videos AS v
     SET title = $2, duration_ms = $3, frame_rate = $4, revision = $5, version = $5, updated_at = statement_timestamp()
     WHERE v.id = $1::uuid RETURNING ",
    video!(),
    " AS body"
);

/// Its version leaves room for the one that it has while it runs.
const REQUEST: &str = "
INSERT INTO validations (id, video_id, status, revision, version, requested_by, cause, requested_at, updated_at)
SELECT $1::uuid, v.id, 'queued', v.revision, 2 * $3::bigint, $4, $5::jsonb, statement_timestamp(), statement_timestamp()
FROM videos AS v WHERE v.id = $2::uuid RETURNING revision";

/// Creates a video.
pub async fn create_video(store: &Store, call: &Call<'_>, new: &NewVideo, render: Render<'_>) -> Result<Done, Failure> {
    run(store, call, render, Creation { id: VideoId::generate(), new }).await
}

struct Creation<'a> {
    id: VideoId,
    new: &'a NewVideo,
}

impl Decide for Creation<'_> {
    async fn decide(&self, call: &Call<'_>, tx: &mut Tx<'_>) -> Result<Decision, Failure> {
        let Self { id, new } = *self;
        let mut boundary = Boundary::lock(tx, &id.aggregate()).await?;
        let version = boundary.next_number();
        let body = write(tx, INSERT, id, new, version).await?;
        let event = call.event(&VIDEO_CREATED, &boundary, version, id.to_string(), video_data(id, new, version));
        publish(tx, vec![boundary], &[event]).await?;
        // A reader may have found that there is none.
        Ok(Ok((Written { id: id.to_string(), version, body }, vec![(id.cache_key(), version)])))
    }
}

async fn write(
    tx: &mut Tx<'_>,
    sql: &'static str,
    id: VideoId,
    video: &NewVideo,
    version: i64,
) -> Result<String, Failure> {
    let NewVideo { title, duration_ms, frame_rate } = video;
    let frame_rate = frame_rate.map(i32::try_from).transpose();
    let query = sqlx::query_scalar(sql).bind(id.to_string()).bind(title).bind(i64::from(*duration_ms));
    Ok(query.bind(written(frame_rate)?).bind(version).fetch_one(tx).await?)
}

/// Changes a video, if `may` takes its revision and its version: since the revision only its files have changed. A
/// change without a difference makes no new version, and no event.
pub async fn patch_video(
    store: &Store,
    call: &Call<'_>,
    id: VideoId,
    may: May<'_, (i64, i64)>,
    patch: &VideoPatch,
    render: Render<'_>,
) -> Result<Done, Failure> {
    run(store, call, render, Change { id, may, patch }).await
}

struct Change<'a> {
    id: VideoId,
    may: May<'a, (i64, i64)>,
    patch: &'a VideoPatch,
}

impl Decide for Change<'_> {
    async fn decide(&self, call: &Call<'_>, tx: &mut Tx<'_>) -> Result<Decision, Failure> {
        let Self { id, may, patch } = *self;
        if !is_video(tx, id).await? {
            return Ok(Err(Refused::NoVideo));
        }
        let mut boundary = Boundary::lock(tx, &id.aggregate()).await?;
        let row = sqlx::query(READ).bind(id.to_string()).fetch_one(&mut *tx).await?;
        let version = row.try_get("version")?;
        if !may((row.try_get("revision")?, version)) {
            return Ok(Err(Refused::Stale));
        }
        let (duration_ms, frame_rate): (i64, Option<i32>) = (row.try_get("duration_ms")?, row.try_get("frame_rate")?);
        let old = NewVideo {
            title: row.try_get("title")?,
            duration_ms: written(duration_ms.try_into())?,
            frame_rate: written(frame_rate.map(u32::try_from).transpose())?,
        };
        let changed = patch.apply(&old);
        if changed == old {
            let written = Written { id: id.to_string(), version, body: row.try_get("body")? };
            // The change that it repeats may have ended before its fence.
            return Ok(Ok((written, vec![(id.cache_key(), version)])));
        }
        let version = boundary.next_number();
        let body = write(tx, UPDATE, id, &changed, version).await?;
        let data = video_data(id, &changed, version);
        let event = call.event(&VIDEO_UPDATED, &boundary, version, id.to_string(), data);
        publish(tx, vec![boundary], &[event]).await?;
        Ok(Ok((Written { id: id.to_string(), version, body }, vec![(id.cache_key(), version)])))
    }
}

/// Asks for a validation of a video.
pub async fn request_validation(
    store: &Store,
    call: &Call<'_>,
    video: VideoId,
    render: Render<'_>,
) -> Result<Done, Failure> {
    run(store, call, render, Request { id: ValidationId::generate(), video }).await
}

struct Request {
    id: ValidationId,
    video: VideoId,
}

impl Decide for Request {
    async fn decide(&self, call: &Call<'_>, tx: &mut Tx<'_>) -> Result<Decision, Failure> {
        let Self { id, video } = *self;
        if !is_video(tx, video).await? {
            return Ok(Err(Refused::NoVideo));
        }
        let mut boundary = Boundary::lock(tx, &video.aggregate()).await?;
        let number = boundary.next_number();
        let event_id = EventId::generate();
        // If nobody runs it, the event of its end cannot take this from the event that asked for it.
        let cause = serde_json::to_string(&call.cause.clone().through(&event_id));
        let cause = cause.map_err(|error| Failure::failed(format!("a cause cannot be written: {error}")))?;
        let query = sqlx::query_scalar(REQUEST).bind(id.to_string()).bind(video.to_string()).bind(number);
        let revision: i64 = query.bind(call.cause.user_id.as_deref()).bind(cause).fetch_one(&mut *tx).await?;
        let data = requested_data(id, video, revision);
        let event = call.event(&VALIDATION_REQUESTED, &boundary, number, video.to_string(), data);
        let event = Outbound { id: event_id, ..event };
        publish(tx, vec![boundary], &[event]).await?;
        let body = format!(r#"{{"id":"{id}","videoId":"{video}","status":"queued","revision":{revision}}}"#);
        let version = number.saturating_mul(2);
        Ok(Ok((Written { id: id.to_string(), version, body }, vec![(id.cache_key(), version)])))
    }
}
