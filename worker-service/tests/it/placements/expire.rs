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
        let (objects, stop) = (self.objects(), CancellationToken::new());
        let pass = Pass { store: &self.store, objects: &objects, older_than: DAY, watched, stop: &stop };
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
