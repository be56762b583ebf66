//! Deletes objects that are no file of any video any more. Each change of a video makes new files; a reader that has
//! just learned the name of an old one may still fetch it, and a database that is restored to an earlier time has it as a
//! file again: so old ones stay for a time, from when they were replaced.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use metrics::{counter, describe_counter};
use shared::placements::objects::{ObjectHash, Objects};
use shared::placements::queries::files::{forget_replaced, unreferenced};
use shared::runtime::config::duration_in;
use shared::store::Store;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// The task's name.
pub const TASK: &str = "files-expire";

/// Shorter than a day, an object might be deleted between its put and its row while PostgreSQL is away.
const RETENTIONS: RangeInclusive<Duration> = Duration::from_secs(86_400)..=Duration::from_secs(100 * YEAR);
/// 365.25 days, as humantime reads `1year`.
const YEAR: u64 = 31_557_600;
/// The wait between two passes, and after one that failed: each lists the whole store.
const INTERVAL: Duration = Duration::from_secs(6 * 3_600);
const RETRY: Duration = Duration::from_secs(600);
/// Objects that PostgreSQL is asked about at once, and that are deleted together.
const PIECE: usize = 100;
/// Notes of replaced objects that are deleted together.
const NOTES: u32 = 5_000;
/// How long a deletion is watched. A handler may put an object just before its deletion, and write the row just after
/// it: in this time its transaction has ended.
const WATCHED: Duration = Duration::from_secs(30);

pub fn describe() {
    describe_counter!(
        "placement_objects_deleted_total",
        "Objects that were deleted because no video has them as a file."
    );
    counter!("placement_objects_deleted_total").increment(0);
}

/// The objects of the files of videos.
#[derive(Debug, Clone, clap::Args)]
pub struct FilesExpiryConfig {
    /// How long an object stays in the store after it was put, and after it was the file of a video. From 1day to
    /// 100years.
    #[arg(long, env, default_value = "30days", value_parser = duration_in(RETENTIONS))]
    pub files_retention: Duration,
}

/// Deletes until `stop` is cancelled. Several workers may do this at once.
pub async fn run(store: Store, objects: Objects, older_than: Duration, stop: CancellationToken) {
    // Workers that start together do not search together.
    let mut wait = INTERVAL.mul_f64(fastrand::f64());
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let pass = Pass { store: &store, objects: &objects, older_than, watched: WATCHED, stop: &stop };
        wait = match pass.run().await {
            Ok(deleted) => {
                tracing::info!(task = TASK, deleted, "searched the store for objects without a video");
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(task = TASK, error = format!("{error:#}"), "cannot delete old objects now");
                RETRY
            }
        };
    }
}

/// One search of the store.
#[derive(Debug)]
pub struct Pass<'a> {
    pub store: &'a Store,
    pub objects: &'a Objects,
    pub older_than: Duration,
    /// How long a deletion is watched.
    pub watched: Duration,
    pub stop: &'a CancellationToken,
}

impl Pass<'_> {
    /// Deletes what is old and no file of a video; returns how many objects.
    pub async fn run(&self) -> anyhow::Result<usize> {
        while forget_replaced(self.store, self.older_than, NOTES).await? >= u64::from(NOTES)
            && !self.stop.is_cancelled()
        {}
        let until = OffsetDateTime::now_utc() - self.older_than;
        let mut all = self.objects.list();
        let (mut old, mut deleted) = (Vec::with_capacity(PIECE), 0);
        while let Some(Some(listed)) = self.stop.run_until_cancelled(all.try_next()).await.transpose()? {
            if listed.put_at < until {
                old.push(listed.hash);
            }
            if old.len() == PIECE {
                deleted += self.piece(&std::mem::take(&mut old), until).await?;
            }
        }
        deleted += self.piece(&old, until).await?;
        Ok(deleted)
    }

    async fn piece(&self, old: &[ObjectHash], until: OffsetDateTime) -> anyhow::Result<usize> {
        if old.is_empty() {
            return Ok(0);
        }
        let mut gone: Vec<(ObjectHash, Bytes)> = Vec::new();
        for hash in unreferenced(self.store, old, self.older_than).await? {
            if self.stop.is_cancelled() {
                break;
            }
            // It may have been put again since it was listed.
            let is_old = self.objects.put_at(hash).await?.is_some_and(|put_at| put_at < until);
            if let Some(content) = if is_old { self.objects.get(hash).await? } else { None } {
                gone.push((hash, content));
                let deleted = self.objects.delete(hash).await;
                if deleted.is_err() {
                    self.put_back_files(&gone).await?;
                }
                deleted?;
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        if self.stop.run_until_cancelled(tokio::time::sleep(self.watched)).await.is_none() {
            // Which of them becomes a file is not known yet, and a shutdown does not wait.
            self.put_back(&gone, &[]).await?;
            return Ok(0);
        }
        counter!("placement_objects_deleted_total").increment(gone.len() as u64);
        self.put_back_files(&gone).await?;
        Ok(gone.len())
    }

    /// Puts back what has become a file meanwhile.
    async fn put_back_files(&self, gone: &[(ObjectHash, Bytes)]) -> anyhow::Result<()> {
        let hashes: Vec<_> = gone.iter().map(|(hash, _)| *hash).collect();
        let still = unreferenced(self.store, &hashes, self.older_than).await?;
        self.put_back(gone, &still).await
    }

    async fn put_back(&self, gone: &[(ObjectHash, Bytes)], except: &[ObjectHash]) -> anyhow::Result<()> {
        for (hash, content) in gone.iter().filter(|(hash, _)| !except.contains(hash)) {
            self.objects.put(*hash, content.clone()).await?;
        }
        Ok(())
    }
}
