//! Objects without a video are deleted when they are old, and no others.

use std::fs::{File, FileTimes};
use std::time::SystemTime;

use bytes::Bytes;
use shared::placements::objects::ObjectHash;
use tokio_util::sync::CancellationToken;
use worker_service::placements::expire::Pass;
use worker_service::placements::files::Files;

use super::kit::{Placements, UPDATED, delivery};
use crate::prelude::*;

const DAY: Duration = Duration::from_secs(86_400);

impl Placements {
    /// Puts an object, as if two days ago.
    async fn put_old(&self, content: &'static str) -> ObjectHash {
        let hash = ObjectHash::of(content.as_bytes());
        self.objects().put(hash, Bytes::from_static(content.as_bytes())).await.unwrap();
        self.age(hash);
        hash
    }

    fn age(&self, hash: ObjectHash) {
        let text = hash.to_string();
        let file = File::options().write(true).open(self.folder().join(&text[..2]).join(&text[2..])).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::now() - 2 * DAY)).unwrap();
    }

    async fn has(&self, hash: ObjectHash) -> bool {
        self.objects().get(hash).await.unwrap().is_some()
    }

    /// One search of the store; returns how many objects were deleted.
    async fn pass(&self, watched: Duration) -> usize {
        self.pass_until(watched, &CancellationToken::new()).await
    }

    async fn pass_until(&self, watched: Duration, stop: &CancellationToken) -> usize {
        let objects = self.objects();
        let pass = Pass { store: &self.store, objects: &objects, older_than: DAY, watched, stop };
        pass.run().await.unwrap()
    }

    /// Notes an object as the file of a video.
    async fn refer(&self, hash: ObjectHash) {
        let sql = "INSERT INTO files (video_id, kind, revision, sha256, bytes)
                   SELECT id, 'json', 1, decode($1, 'hex'), 1 FROM videos";
        sqlx::query(sql).bind(hash.to_string()).execute(&self.pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_objects_without_a_video_are_deleted() {
    let all = Placements::new("files_expire", |scope| &scope.files_group).await;
    let handler = Files::new(all.store.clone(), all.objects(), all.bell(), Duration::MAX);
    let video = all.video().await;
    let data = json!({"videoId": video.to_string()});
    let event = delivery::<Files>(("a", 1), UPDATED, &video.to_string(), 1, &data);
    all.apply(&handler, &[&event]).await;
    let files = all.check_files(video).await;
    files.iter().for_each(|hash| all.age(*hash));
    let old = [all.put_old("one").await, all.put_old("two").await];
    let new = ObjectHash::of(b"new");
    all.objects().put(new, Bytes::from_static(b"new")).await.unwrap();

    assert_eq!(all.pass(Duration::ZERO).await, 2);
    assert_eq!([all.has(old[0]).await, all.has(old[1]).await, all.has(new).await], [false, false, true]);
    all.check_files(video).await;
    assert_eq!(all.pass(Duration::ZERO).await, 0);
}

/// Its object is old, but it was the file of a video until just now: a restore to a minute ago needs it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_stays_for_the_whole_retention() {
    let all = Placements::new("files_replaced", |scope| &scope.files_group).await;
    let handler = Files::new(all.store.clone(), all.objects(), all.bell(), Duration::MAX);
    let video = all.video().await;
    let data = json!({"videoId": video.to_string()});
    let mut made = Vec::new();
    for name in ["a", "b"] {
        let number = all.change(video).await;
        let event = delivery::<Files>((name, number), UPDATED, &video.to_string(), number, &data);
        all.apply(&handler, &[&event]).await;
        made.push(all.check_files(video).await);
    }
    made.iter().flatten().for_each(|hash| all.age(*hash));
    let noted = "SELECT count(*) FROM replaced_files";
    assert_eq!((all.count(noted).await, all.pass(Duration::ZERO).await), (2, 0));
    assert!(all.has(made[0][0]).await && all.has(made[0][1]).await);

    all.sql("UPDATE replaced_files SET replaced_at = now() - interval '26 hours'").await;
    assert_eq!((all.pass(Duration::ZERO).await, all.count(noted).await), (2, 0));
    assert_eq!([all.has(made[0][0]).await, all.has(made[0][1]).await], [false, false]);
    all.check_files(video).await;
}

/// Whether a handler writes a row of it just then is not known.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_puts_back_what_was_just_deleted_and_deletes_nothing_more() {
    let all = Placements::new("files_shutdown", |scope| &scope.files_group).await;
    all.video().await;
    let hash = all.put_old("one").await;
    let stop = CancellationToken::new();
    let stops = async {
        until("it is deleted", async || !all.has(hash).await).await;
        stop.cancel();
    };
    let (deleted, ()) = tokio::join!(all.pass_until(Duration::from_secs(600), &stop), stops);
    assert_eq!(deleted, 0);
    assert!(all.has(hash).await);
    all.age(hash);
    assert_eq!(all.pass_until(Duration::ZERO, &stop).await, 0);
    assert!(all.has(hash).await, "no deletion begins while the worker stops");
}

/// A handler put it again just before it was deleted, and writes its row just after that.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_a_file_meanwhile_is_put_back() {
    let all = Placements::new("files_put_back", |scope| &scope.files_group).await;
    all.video().await;
    let hash = all.put_old("again").await;
    let becomes_a_file = async {
        until("it is deleted", async || !all.has(hash).await).await;
        all.refer(hash).await;
    };
    let (deleted, ()) = tokio::join!(all.pass(Duration::from_secs(3)), becomes_a_file);
    assert_eq!(deleted, 1);
    assert!(all.has(hash).await);
    all.age(hash);
    assert_eq!(all.pass(Duration::ZERO).await, 0, "it is a file");
}
