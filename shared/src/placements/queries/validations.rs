//! Validations: each is queued by a command, runs, and ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::kafka::Cause;
use crate::kafka::ids::EventId;
use crate::placements::events::{SOURCE, VALIDATION_COMPLETED, completed_data};
use crate::placements::validate::{Report, Severity};
use crate::placements::{ValidationId, VideoId};
use crate::store::expire::Piece;
use crate::store::outbox::{Boundary, Outbound, publish};
use crate::store::{Failure, Store, Tx, column, within_deadline};

/// A validation that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its id.
    pub id: ValidationId,
    /// The video.
    pub video: VideoId,
    /// The revision at which it was asked for.
    pub revision: i64,
}

/// In the order of their ids, as everybody locks them.
const BEGIN: &str = "
WITH queued AS (
  SELECT id FROM validations WHERE id = ANY($1::text[]::uuid[]) AND status = 'queued' ORDER BY id FOR NO KEY UPDATE
), begun AS (
  UPDATE validations AS v SET status = 'running', version = v.version + 1, updated_at = now()
  FROM queued WHERE v.id = queued.id
)
SELECT id::text, video_id::text, revision FROM validations
WHERE id = ANY($1::text[]::uuid[]) AND finished_at IS NULL";

/// Notes that these validations run, and returns those that have not ended. It may be repeated.
pub async fn begin_validations(store: &Store, ids: &[ValidationId]) -> Result<Vec<Begun>, Failure> {
    let query = sqlx::query_as(BEGIN).bind(column!(ids, |id| id.to_string()));
    let rows: Vec<(String, String, i64)> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    Ok(rows.into_iter().filter_map(begun).collect())
}

/// Validations that were asked for longer ago than this and have not ended, with what caused them: at most this many,
/// the oldest first.
pub async fn unfinished(store: &Store, for_long: Duration, most: u32) -> Result<Vec<(Begun, Cause)>, Failure> {
    const UNFINISHED: &str = "
        SELECT id::text, video_id::text, revision, cause::text FROM validations
        WHERE finished_at IS NULL AND requested_at < now() - make_interval(secs => $1) ORDER BY requested_at LIMIT $2";
    type Row = (String, String, i64, Option<String>);
    let query = sqlx::query_as(UNFINISHED).bind(for_long.as_secs_f64()).bind(i64::from(most));
    let rows: Vec<Row> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    let read = |(id, video, revision, cause): Row| Some((begun((id, video, revision))?, caused(cause.as_deref())));
    Ok(rows.into_iter().filter_map(read).collect())
}

/// A validation whose cause is not known, or is of another version, ends all the same.
fn caused(cause: Option<&str>) -> Cause {
    cause.and_then(|cause| serde_json::from_str(cause).ok()).unwrap_or_default()
}

/// Deletes up to `rows` validations that ended longer ago than this; `None` if another worker is doing it.
pub async fn expire_validations(store: &Store, older_than: Duration, rows: u32) -> Result<Option<u64>, Failure> {
    Piece { table: "validations", time: "finished_at", older_than, rows }.delete(store).await
}

fn begun((id, video, revision): (String, String, i64)) -> Option<Begun> {
    Some(Begun { id: id.parse().ok()?, video: video.parse().ok()?, revision })
}

/// How a validation has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With a report.
    Report(Report),
    /// Without one, for this reason.
    Failed(String),
}

impl Ended {
    /// Its status.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Report(_) => "succeeded",
            Self::Failed(_) => "failed",
        }
    }
}

/// A validation that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What was begun.
    pub of: Begun,
    /// How it ended.
    pub ended: Ended,
}

impl Finished {
    /// The revision that was validated.
    fn revision(&self) -> i64 {
        match &self.ended {
            Ended::Report(report) => report.revision,
            Ended::Failed(_) => self.of.revision,
        }
    }

    /// The findings as JSON.
    fn findings(&self) -> Result<Option<String>, Failure> {
        let Ended::Report(report) = &self.ended else { return Ok(None) };
        let json = serde_json::to_string(&report.findings);
        json.map(Some).map_err(|error| Failure::failed(format!("a report cannot be written: {error}")))
    }

    fn error(&self) -> Option<&str> {
        match &self.ended {
            Ended::Report(_) => None,
            Ended::Failed(reason) => Some(reason),
        }
    }

    fn data(&self) -> String {
        let count = |severity| match &self.ended {
            Ended::Report(report) => report.count(severity),
            Ended::Failed(_) => 0,
        };
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        completed_data(self.of.id, self.of.video, self.revision(), self.ended.status(), errors, warnings)
    }
}

const STATES: &str = "
SELECT id::text, version, finished_at IS NULL FROM validations WHERE id = ANY($1::text[]::uuid[])";
const FINISH: &str = "
UPDATE validations AS v SET status = new.status, revision = new.revision, version = new.version,
  findings = new.findings::jsonb, error = new.error, finished_at = now(), updated_at = now()
FROM unnest($1::text[]::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
  AS new (id, status, revision, version, findings, error)
WHERE v.id = new.id";

/// The versions of validations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of each that there is.
    pub all: HashMap<ValidationId, i64>,
    /// Those that ended now, with their status.
    pub ended: BTreeMap<ValidationId, &'static str>,
}

/// Ends validations, and publishes that, each with its cause, in the order of the list; one that has ended stays as it
/// is. `asked` are the validations whose versions are asked for besides.
pub async fn finish_validations(
    tx: &mut Tx<'_>,
    finished: &[(&Finished, Cause)],
    asked: &[ValidationId],
    now: OffsetDateTime,
) -> Result<Versions, Failure> {
    if finished.is_empty() && asked.is_empty() {
        return Ok(Versions::default());
    }
    let aggregates: BTreeSet<Arc<str>> = finished.iter().map(|(it, _)| it.of.video.aggregate()).collect();
    let mut boundaries = Boundary::lock_all(tx, &aggregates).await?;
    let ids: BTreeSet<ValidationId> = finished.iter().map(|(it, _)| it.of.id).chain(asked.iter().copied()).collect();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows: Vec<(String, i64, bool)> = sqlx::query_as(STATES).bind(ids).fetch_all(&mut *tx).await?;
    let (mut versions, mut open) = (Versions::default(), BTreeSet::new());
    for (id, version, is_open) in rows {
        let Ok(id) = id.parse() else { continue };
        versions.all.insert(id, version);
        if is_open {
            open.insert(id);
        }
    }

    let mut places: BTreeMap<Arc<str>, &mut Boundary> =
        boundaries.iter_mut().map(|boundary| (Arc::clone(boundary.aggregate()), boundary)).collect();
    let (mut written, mut events) = (Vec::new(), Vec::new());
    for (finished, cause) in finished {
        let Some(boundary) = places.get_mut(&finished.of.video.aggregate()) else { continue };
        if !open.remove(&finished.of.id) {
            continue;
        }
        let sequence = boundary.next_number();
        let version = sequence.saturating_mul(2);
        versions.all.insert(finished.of.id, version);
        versions.ended.insert(finished.of.id, finished.ended.status());
        written.push((*finished, version, finished.findings()?));
        events.push(Outbound {
            schema: &VALIDATION_COMPLETED,
            aggregate: Arc::clone(boundary.aggregate()),
            sequence,
            id: EventId::generate(),
            source: SOURCE,
            subject: finished.of.video.to_string(),
            at: now,
            cause: cause.clone(),
            data: finished.data(),
        });
    }
    drop(places);
    if !written.is_empty() {
        let query = sqlx::query(FINISH)
            .bind(column!(written, |(it, ..)| it.of.id.to_string()))
            .bind(column!(written, |(it, ..)| it.ended.status()))
            .bind(column!(written, |(it, ..)| it.revision()))
            .bind(column!(written, |(_, version, _)| *version))
            .bind(column!(written, |(.., findings)| findings.as_deref()))
            .bind(column!(written, |(it, ..)| it.error()));
        query.execute(&mut *tx).await?;
    }
    publish(tx, boundaries, &events).await?;
    Ok(versions)
}
