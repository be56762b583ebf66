//! The files of videos, as players read them.

use bytes::Bytes;
use shared::placements::VideoId;
use shared::placements::files::{FileKind, render};
use shared::placements::objects::{ObjectHash, Objects};
use shared::placements::queries::subscribers::snapshot;

use crate::placements_kit::{Editor, Told, of};
use crate::prelude::*;

impl Editor {
    fn objects(&self) -> Objects {
        Objects::open(&self.app.scope.files_url.parse().unwrap()).unwrap()
    }

    /// Makes the files of a video, as the worker does; returns their bytes.
    async fn make_files(&self, video: &str) -> [Vec<u8>; 2] {
        let id: VideoId = video.parse().unwrap();
        let snapshot = snapshot(&self.app.store(), id).await.unwrap().unwrap();
        let files = FileKind::ALL.map(|kind| render(&snapshot, kind));
        for (kind, content) in FileKind::ALL.into_iter().zip(&files) {
            let hash = ObjectHash::of(content);
            self.objects().put(hash, Bytes::from(content.clone())).await.unwrap();
            let sql = "INSERT INTO files (video_id, kind, revision, sha256, bytes)
                       VALUES ($1::uuid, $2, $3, decode($4, 'hex'), $5)
                       ON CONFLICT (video_id, kind) DO UPDATE SET revision = excluded.revision, sha256 = excluded.sha256,
                         bytes = excluded.bytes";
            let length = i64::try_from(content.len()).unwrap();
            let query = sqlx::query(sql).bind(video).bind(kind.as_str()).bind(snapshot.video.revision);
            query.bind(hash.to_string()).bind(length).execute(&self.pool).await.unwrap();
        }
        files
    }
}

fn paths(video: &str) -> [String; 2] {
    FileKind::ALL.map(|kind| format!("/videos/{video}/files/{}", kind.file_name()))
}

#[tokio::test]
async fn a_file_is_there_once_it_was_made_and_its_tag_is_its_hash() {
    let edith = Editor::start("files_shown").await;
    let video = edith.video().await;
    for path in paths(&video) {
        let early = edith.get(&path).await;
        early.refused(404, "file_not_ready");
        assert_eq!(early.header("retry-after"), Some("1"));
    }
    for none in ["x", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        for path in paths(none) {
            edith.get(&path).await.refused(404, "video_not_found");
        }
    }

    let mut tags = Vec::new();
    for revision in ["1", "2"] {
        let files = edith.make_files(&video).await;
        for (path, content) in paths(&video).iter().zip(&files) {
            let shown = edith.get(path).await;
            shown.expect(200);
            assert_eq!(shown.text.as_bytes(), content);
            let tag = format!("\"{}\"", ObjectHash::of(content));
            assert_eq!((shown.header("etag"), shown.header("x-revision")), (Some(&*tag), Some(revision)));
            let again = edith.send(&format!("GET {path}"), &[("if-none-match", &tag)], &Value::Null).await;
            again.expect(304);
            assert_eq!((again.header("etag"), again.header("x-revision")), (Some(&*tag), Some(revision)));
            let head = edith.call(&format!("HEAD {path}"), &[], &Value::Null).send().await.unwrap();
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["etag"], tag);
            tags.push(tag);
        }
        if revision == "1" {
            edith.placement(&video, 0, 1_000).await;
        }
    }
    let [json, vtt] = paths(&video);
    assert_eq!(edith.get(&json).await.header("content-type"), Some("application/json"));
    assert_eq!(edith.get(&vtt).await.header("content-type"), Some("text/vtt; charset=utf-8"));
    let old = edith.send(&format!("GET {json}"), &[("if-none-match", &tags[0])], &Value::Null).await;
    assert_eq!(old.expect(200)["placements"].as_array().unwrap().len(), 1, "it has changed");
}

#[tokio::test]
async fn a_large_file_is_compressed() {
    let edith = Editor::start("files_packed").await;
    let video = edith.video().await;
    for start in 0..20 {
        edith.placement(&video, start, start + 1_000).await;
    }
    let files = edith.make_files(&video).await;
    for (path, content) in paths(&video).iter().zip(&files) {
        let hash = ObjectHash::of(content);
        let call = format!("GET {path}");
        let plain = edith.get(path).await;
        plain.expect(200);
        let tag = format!("\"{hash}\"");
        assert_eq!((plain.header("etag"), plain.header("vary")), (Some(&*tag), Some("accept-encoding")));
        for coding in ["gzip", "zstd"] {
            let packed = edith.call(&call, &[("accept-encoding", coding)], &Value::Null).send().await.unwrap();
            assert_eq!(packed.status(), 200);
            assert_eq!(packed.headers()["content-encoding"], coding);
            // Other bytes have another tag.
            let own = format!("\"{hash}-{coding}\"");
            assert_eq!(packed.headers()["etag"], own);
            assert_eq!(packed.headers()["vary"], "accept-encoding");
            // A caller that names either tag gets 304, with that tag.
            for given in [&tag, &own] {
                let asked = [("accept-encoding", coding), ("if-none-match", given.as_str())];
                let again = edith.send(&call, &asked, &Value::Null).await;
                again.expect(304);
                let told = (again.header("etag"), again.header("vary"));
                assert_eq!(told, (Some(given.as_str()), Some("accept-encoding")), "{coding}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_not_read_without_room_for_it() {
    let edith = Editor::start("files_room").await;
    let video = edith.video().await;
    let [json, _] = edith.make_files(&video).await;
    let [path, _] = paths(&video);
    let left = edith.app.backbone.answers.left();
    edith.sql("UPDATE files SET bytes = 1000000000").await;
    // Whoever read it would find out that it is gone.
    edith.objects().delete(ObjectHash::of(&json)).await.unwrap();
    let refused = edith.get(&path).await;
    refused.refused(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(edith.app.backbone.answers.left(), left);
    edith.make_files(&video).await;
    edith.get(&path).await.expect(200);
}

#[tokio::test]
async fn readers_may_and_others_may_not() {
    let edith = Editor::start("files_rights").await;
    let video = edith.video().await;
    edith.make_files(&video).await;
    for (role, status) in [("user", 200), ("plugin", 200), ("admin", 200), ("device", 403), ("advertiser", 403)] {
        for path in paths(&video) {
            let request = edith.app.request("GET", &path).bearer_auth(of("somebody", &[role]));
            assert_eq!(Told::of(request.send().await.unwrap()).await.status, status, "{role}");
        }
    }
    let nobody = edith.app.request("GET", &paths(&video)[0]).send().await.unwrap();
    Told::of(nobody).await.refused(401, "invalid_token");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_now_is_lost_damaged_or_without_its_store() {
    let edith = Editor::start("files_away").await;
    let video = edith.video().await;
    let [json, _] = edith.make_files(&video).await;
    let [path, _] = paths(&video);
    let tag = format!("\"{}\"", ObjectHash::of(&json));
    edith.objects().delete(ObjectHash::of(&json)).await.unwrap();
    let refused = async |detail: &str| {
        let refused = edith.get(&path).await;
        assert_eq!(refused.refused(503, "files_unavailable")["detail"], detail);
        assert_eq!(refused.header("retry-after"), Some("1"));
    };
    refused("the store of files has lost this file").await;
    // Somebody who has it needs no store.
    edith.send(&format!("GET {path}"), &[("if-none-match", &tag)], &Value::Null).await.expect(304);
    let folder = edith.app.scope.files_url.strip_prefix("file://").unwrap();
    let name = ObjectHash::of(&json).to_string();
    std::fs::write(format!("{folder}/{}/{}", &name[..2], &name[2..]), "damaged").unwrap();
    refused("this file is damaged in the store of files").await;
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::write(folder, "").unwrap();
    refused("the store of files does not answer: try again").await;
    std::fs::remove_file(folder).unwrap();
    edith.make_files(&video).await;
    edith.get(&path).await.expect(200);
}

#[tokio::test]
async fn an_instance_that_is_told_of_no_store_has_no_files_and_all_else() {
    let edith = Editor::start("files_nowhere").await;
    let bare = Editor::of(TestApp::prepared(edith.app.scope.clone(), &["--files-url="]).await).await;
    let video = bare.video().await;
    bare.placement(&video, 0, 1).await;
    for path in paths(&video) {
        bare.get(&path).await.refused(404, "file_not_ready");
    }
    let files = edith.make_files(&video).await;
    for (path, content) in paths(&video).iter().zip(&files) {
        let refused = bare.get(path).await;
        let problem = refused.refused(503, "files_unavailable");
        assert_eq!(problem["detail"], "this instance has no store of files");
        assert_eq!(refused.header("retry-after"), Some("1"));
        let tag = format!("\"{}\"", ObjectHash::of(content));
        bare.send(&format!("GET {path}"), &[("if-none-match", &tag)], &Value::Null).await.expect(304);
        edith.get(path).await.expect(200);
    }
}
