//! The files of videos: which object each is, and of which revision.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use time::OffsetDateTime;

use crate::kafka::Cause;
use crate::kafka::ids::EventId;
use crate::placements::VideoId;
use crate::placements::events::{FILES_GENERATED, GeneratedFile, SOURCE, files_data};
use crate::placements::files::FileKind;
use crate::placements::objects::ObjectHash;
use crate::store::outbox::{Boundary, Outbound, publish};
use crate::store::{Failure, Store, Tx, column, within_deadline};

/// A file that is in the store of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeFile {
    /// Its kind.
    pub kind: FileKind,
    /// Its name in the store.
    pub hash: ObjectHash,
    /// Its length.
    pub bytes: u64,
}

/// The files of a video at one revision, all of which are in the store of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The video.
    pub video: VideoId,
    /// The revision.
    pub revision: i64,
    /// One of each kind.
    pub files: Vec<MadeFile>,
}

/// How often it is noted of one object that it was replaced. The first files of new videos are equal: if each transaction
/// noted that, all would wait for one row.
const NOTED_EVERY: Duration = Duration::from_secs(3_600);

const READY: &str = "SELECT id::text, ready_revision FROM videos WHERE id = ANY($1::text[]::uuid[])";
const WRITE: &str = "
WITH ready AS (
  UPDATE videos AS v SET ready_revision = new.revision, version = new.version, updated_at = now()
  FROM unnest($1::text[]::uuid[], $2::bigint[], $3::bigint[]) AS new (id, revision, version) WHERE v.id = new.id
), replaced AS (
  INSERT INTO replaced_files (sha256)
  SELECT DISTINCT old.sha256 FROM files AS old
  JOIN unnest($4::text[]::uuid[], $5::text[], $7::bytea[]) AS new (video_id, kind, sha256)
    ON old.video_id = new.video_id AND old.kind = new.kind
  WHERE old.sha256 <> new.sha256 AND NOT EXISTS (
    SELECT FROM replaced_files AS noted
    WHERE noted.sha256 = old.sha256 AND noted.replaced_at > now() - make_interval(secs => $9))
  ORDER BY old.sha256
  ON CONFLICT (sha256) DO UPDATE SET replaced_at = now()
)
INSERT INTO files (video_id, kind, revision, sha256, bytes)
SELECT * FROM unnest($4::text[]::uuid[], $5::text[], $6::bigint[], $7::bytea[], $8::bigint[])
ON CONFLICT (video_id, kind) DO UPDATE SET revision = excluded.revision, sha256 = excluded.sha256,
  bytes = excluded.bytes, generated_at = now()";

/// Notes files that were made, and publishes that, each with its cause. A video whose files are of this revision or a
/// later one stays as it is. Returns the new version of each video that changed.
pub async fn write_files(
    tx: &mut Tx<'_>,
    made: &BTreeMap<VideoId, (&Made, Cause)>,
    now: OffsetDateTime,
) -> Result<HashMap<VideoId, i64>, Failure> {
    if made.is_empty() {
        return Ok(HashMap::new());
    }
    let aggregates: BTreeSet<Arc<str>> = made.keys().map(|video| video.aggregate()).collect();
    let mut boundaries = Boundary::lock_all(tx, &aggregates).await?;
    let ids: Vec<String> = made.keys().map(ToString::to_string).collect();
    let ready: Vec<(String, i64)> = sqlx::query_as(READY).bind(ids).fetch_all(&mut *tx).await?;
    let ready: HashMap<String, i64> = ready.into_iter().collect();

    let (mut written, mut events) = (Vec::new(), Vec::new());
    for boundary in &mut boundaries {
        let Some(video) = boundary.aggregate().parse::<VideoId>().ok() else { continue };
        let Some((made, cause)) = made.get(&video) else { continue };
        if ready.get(&**boundary.aggregate()).is_none_or(|ready| *ready >= made.revision) {
            continue;
        }
        let sequence = boundary.next_number();
        written.push((*made, sequence));
        events.push(Outbound {
            schema: &FILES_GENERATED,
            aggregate: Arc::clone(boundary.aggregate()),
            sequence,
            id: EventId::generate(),
            source: SOURCE,
            subject: video.to_string(),
            at: now,
            cause: cause.clone(),
            data: data(made),
        });
    }
    if !written.is_empty() {
        let files: Vec<_> = written
            .iter()
            .flat_map(|(made, _)| made.files.iter().map(move |file| (made.video, made.revision, file)))
            .collect();
        let query = sqlx::query(WRITE)
            .bind(column!(written, |(made, _)| made.video.to_string()))
            .bind(column!(written, |(made, _)| made.revision))
            .bind(column!(written, |(_, version)| *version))
            .bind(column!(files, |(video, ..)| video.to_string()))
            .bind(column!(files, |(.., file)| file.kind.as_str()))
            .bind(column!(files, |(_, revision, _)| *revision))
            .bind(column!(files, |(.., file)| file.hash.as_bytes().as_slice()))
            .bind(column!(files, |(.., file)| i64::try_from(file.bytes).unwrap_or(i64::MAX)))
            .bind(NOTED_EVERY.as_secs_f64());
        query.execute(&mut *tx).await?;
    }
    publish(tx, boundaries, &events).await?;
    Ok(written.into_iter().map(|(made, version)| (made.video, version)).collect())
}

fn data(made: &Made) -> String {
    let file =
        |file: &MadeFile| GeneratedFile { kind: file.kind.as_str(), sha256: file.hash.to_string(), bytes: file.bytes };
    files_data(made.video, made.revision, &made.files.iter().map(file).collect::<Vec<_>>())
}

/// A file of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRow {
    /// The revision that it shows.
    pub revision: i64,
    /// Its name in the store of objects.
    pub hash: ObjectHash,
    /// Its length.
    pub bytes: u64,
    /// When it was made.
    pub generated_at: OffsetDateTime,
}

/// What there is of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// There is no such video.
    NoVideo,
    /// It has not been made for the first time.
    NotReady,
    /// It is there.
    Ready(FileRow),
}

/// It always returns a row: the answer of a server that has become read-only does not count.
const FILE: &str = "
SELECT read_only, v.id IS NOT NULL AS is_video, f.revision, f.sha256, f.bytes, f.generated_at
FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
LEFT JOIN videos AS v ON v.id = $1::uuid
LEFT JOIN files AS f ON f.video_id = v.id AND f.kind = $2";

/// The newest file of this kind that a video has.
pub async fn file(store: &Store, video: VideoId, kind: FileKind) -> Result<FileState, Failure> {
    let query = sqlx::query(FILE).bind(video.to_string()).bind(kind.as_str());
    let row = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    if row.try_get("read_only")? {
        return Err(Failure::read_only());
    }
    if !row.try_get::<bool, _>("is_video")? {
        return Ok(FileState::NoVideo);
    }
    let Some(revision) = row.try_get("revision")? else { return Ok(FileState::NotReady) };
    let hash: &[u8] = row.try_get("sha256")?;
    let hash: [u8; 32] = hash.try_into().map_err(|_| Failure::outage("a file's SHA-256 has not 32 bytes"))?;
    Ok(FileState::Ready(FileRow {
        revision,
        hash: hash.into(),
        bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or_default(),
        generated_at: row.try_get("generated_at")?,
    }))
}

/// Those of these objects that are no file of any video, and have been none for this long.
pub async fn unreferenced(
    store: &Store,
    hashes: &[ObjectHash],
    for_long: Duration,
) -> Result<Vec<ObjectHash>, Failure> {
    const UNREFERENCED: &str = "
        SELECT read_only, asked.sha256 FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
        CROSS JOIN unnest($1::bytea[]) AS asked (sha256)
        WHERE NOT EXISTS (SELECT FROM files WHERE files.sha256 = asked.sha256)
          AND NOT EXISTS (SELECT FROM replaced_files AS noted WHERE noted.sha256 = asked.sha256
                          AND noted.replaced_at > now() - make_interval(secs => $2))";
    let query = sqlx::query_as(UNREFERENCED).bind(column!(hashes, |hash| hash.as_bytes().as_slice()));
    let query = query.bind(for_long.saturating_add(NOTED_EVERY).as_secs_f64());
    let rows: Vec<(bool, Vec<u8>)> = within_deadline!(store, |tx| async { Ok(query.fetch_all(tx).await?) })?;
    if rows.iter().any(|(read_only, _)| *read_only) {
        return Err(Failure::read_only());
    }
    Ok(rows.into_iter().filter_map(|(_, hash)| Some(<[u8; 32]>::try_from(hash).ok()?.into())).collect())
}

/// Forgets of up to this many objects that they were replaced, if that was longer ago. Returns how many.
pub async fn forget_replaced(store: &Store, for_long: Duration, most: u32) -> Result<u64, Failure> {
    const FORGET: &str = "
        DELETE FROM replaced_files WHERE ctid = ANY (ARRAY (
          SELECT ctid FROM replaced_files WHERE replaced_at <= now() - make_interval(secs => $1) LIMIT $2))";
    let query = sqlx::query(FORGET).bind(for_long.saturating_add(NOTED_EVERY).as_secs_f64()).bind(i64::from(most));
    within_deadline!(store, |tx| async { Ok(query.execute(tx).await?.rows_affected()) })
}
