//! Placements: created, changed and deleted one by one, each with its event.

use crate::ads_campaigns::{As, advertiser, demo};
use crate::placements_kit::{Editor, new, numbered};
use crate::prelude::*;

#[tokio::test]
async fn a_placement_is_made_changed_and_deleted() {
    let edith = Editor::start("placements_walk").await;
    let video = edith.video().await;
    let region = json!({"x": 0.25, "y": 0.5, "width": 0.3, "height": 0.1234});
    let mut all = new(&video, 1_000, 3_000);
    all.as_object_mut()
        .unwrap()
        .extend(json!({"campaignId": 7, "layer": 2, "region": region, "label": "cup"}).as_object().unwrap().clone());
    let made = edith.post("/placements", &all).await;
    let body = made.expect(201);
    let id = made.text("id");
    let path = format!("/placements/{id}");
    assert_eq!((made.header("location"), made.header("etag")), (Some(&*path), Some("\"2\"")));
    for (name, value) in all.as_object().unwrap() {
        assert_eq!(&body[name], value, "{name}");
    }
    assert_eq!((&body["version"], &body["createdAt"]), (&json!(2), &body["updatedAt"]));
    assert_eq!(body["files"], json!({"state": "processing", "revision": 2, "readyRevision": 0}));

    let mut alone = body.clone();
    alone.as_object_mut().unwrap().remove("files");
    let shown = edith.get(&path).await;
    assert_eq!((shown.expect(200), shown.header("etag")), (alone, Some("\"2\"")));
    assert_eq!(edith.send(&format!("GET {path}"), &[("if-none-match", "\"2\"")], &Value::Null).await.status, 304);
    let of_video = edith.get(&format!("/videos/{video}")).await.expect(200);
    assert_eq!((&of_video["placements"], &of_video["revision"]), (&json!(1), &json!(2)));

    let patch = json!({"startMs": 1_500, "campaignId": null, "region": {"x": 0.7}, "label": null});
    let changed = edith.patch(&path, "\"2\"", &patch).await;
    let body = changed.expect(200);
    assert_eq!((&body["startMs"], &body["endMs"], &body["campaignId"]), (&json!(1_500), &json!(3_000), &Value::Null));
    assert_eq!(body["region"], json!({"x": 0.7, "y": 0.5, "width": 0.3, "height": 0.1234}));
    assert_eq!((&body["files"]["revision"], changed.header("etag")), (&json!(3), Some("\"3\"")));
    // Without a difference there is no new version.
    let same = edith.patch(&path, "\"3\"", &json!({"startMs": 1_500})).await;
    assert_eq!((same.expect(200), same.header("etag")), (body, Some("\"3\"")));

    let delete = async |tag: &str| edith.send(&format!("DELETE {path}"), &[("if-match", tag)], &Value::Null).await;
    edith.send(&format!("DELETE {path}"), &[], &Value::Null).await.refused(428, "precondition_required");
    delete("\"2\"").await.refused(412, "precondition_failed");
    let deleted = delete("\"3\"").await;
    assert_eq!((deleted.status, &*deleted.text), (204, ""));
    delete("*").await.refused(404, "placement_not_found");
    edith.get(&path).await.refused(404, "placement_not_found");
    edith.patch(&path, "*", &json!({"layer": 1})).await.refused(404, "placement_not_found");
    let of_video = edith.get(&format!("/videos/{video}")).await.expect(200);
    assert_eq!((&of_video["placements"], &of_video["revision"]), (&json!(0), &json!(4)));

    let events = edith.events(&video).await;
    let types = [(1, "video.created"), (2, "placement.created"), (3, "placement.updated"), (4, "placement.deleted")];
    assert_eq!(edith.types(&video).await, numbered(&types));
    assert!(events[1..].iter().all(|(_, _, subject, _)| *subject == id));
    let created = json!({
        "placementId": id, "videoId": video, "productId": "mug", "campaignId": 7, "startMs": 1_000, "endMs": 3_000,
        "layer": 2, "region": region, "label": "cup", "version": 2, "revision": 2
    });
    assert_eq!(events[1].3, created);
    let updated = json!({
        "placementId": id, "videoId": video, "productId": "mug", "startMs": 1_500, "endMs": 3_000, "layer": 2,
        "region": {"x": 0.7, "y": 0.5, "width": 0.3, "height": 0.1234}, "version": 3, "revision": 3
    });
    assert_eq!(events[2].3, updated);
    let ids = json!({"placementId": id, "videoId": video, "productId": "mug", "revision": 4});
    assert_eq!(events[3].3, ids, "ids alone");
    assert_eq!(edith.number("SELECT last FROM sequences").await, 4);
}

#[tokio::test]
async fn a_placement_is_a_draft_and_its_video_must_exist() {
    let edith = Editor::start("placements_drafts").await;
    let video = edith.video().await;
    // Behind the end of the video, on top of another, of a product and a campaign that nobody knows.
    for _ in 0..2 {
        edith.placement(&video, 70_000, 80_000).await;
    }
    let none = "01890a5d-ac96-774b-bcce-b302099a8057";
    edith.post("/placements", &new(none, 0, 1)).await.refused(404, "video_not_found");
    assert_eq!(edith.number("SELECT count(*) FROM sequences").await, 1, "a refusal leaves no boundary");
    let mut bad = new("x", 7, 7);
    bad["productId"] = json!("a b");
    bad["region"] = json!({"x": 0.9, "y": 0, "width": 0.2, "height": 1});
    let refused = edith.post("/placements", &bad).await;
    refused.refused(422, "invalid_placement");
    assert_eq!(refused.pointers(), ["/endMs", "/productId", "/region/width", "/videoId"]);
    let id = edith.placement(&video, 0, 9).await.text("id");
    let path = format!("/placements/{id}");
    let refused = edith.patch(&path, "*", &json!({"startMs": 9, "region": {"x": 0.5}})).await;
    refused.refused(422, "invalid_placement");
    assert_eq!(refused.pointers(), ["/region/height", "/region/width", "/region/y", "/startMs"]);
    let refused = edith.patch(&path, "*", &json!({"videoId": video, "productId": null})).await;
    assert_eq!(refused.pointers(), ["/productId", "/videoId"]);
    for id in ["x", "1", none] {
        edith.get(&format!("/placements/{id}")).await.refused(404, "placement_not_found");
        edith.patch(&format!("/placements/{id}"), "*", &json!({})).await.refused(404, "placement_not_found");
    }
}

#[tokio::test]
async fn a_video_has_at_most_ten_thousand_placements() {
    let edith = Editor::start("placements_many").await;
    let video = edith.video().await;
    let first = edith.placement(&video, 0, 1).await.text("id");
    edith.sql("UPDATE videos SET placements = 9999").await;
    edith.placement(&video, 0, 1).await;
    edith.post("/placements", &new(&video, 0, 1)).await.refused(409, "too_many_placements");
    // A change is none more, and there is room again behind a deletion.
    edith.patch(&format!("/placements/{first}"), "*", &json!({"layer": 1})).await.expect(200);
    let deleted = edith.send(&format!("DELETE /placements/{first}"), &[("if-match", "*")], &Value::Null).await;
    assert_eq!(deleted.status, 204);
    edith.placement(&video, 0, 1).await;
    assert_eq!(edith.number("SELECT last FROM sequences").await, 6, "a refusal takes no number");
    assert_eq!(edith.number("SELECT count(*) FROM outbox").await, 6);
}

/// Within a video numbers, rows of the outbox and commits rise together.
#[tokio::test]
async fn commands_on_one_video_take_turns() {
    let edith = Editor::with("placements_turns", &["--database-max-connections=16"]).await;
    let video = edith.video().await;
    let made = join_all((0..20).map(|at| edith.placement(&video, at, at + 1))).await;
    let mut versions: Vec<_> = made.iter().map(|told| told.body()["version"].as_i64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<_>>());
    let numbers: Vec<_> = edith.events(&video).await.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=21).collect::<Vec<_>>());
    let shown = edith.get(&format!("/videos/{video}")).await.expect(200);
    assert_eq!((&shown["revision"], &shown["placements"]), (&json!(21), &json!(20)));
}

#[tokio::test]
async fn commands_wait_until_the_outbox_has_room() {
    let edith = Editor::with("placements_outbox", &["--outbox-max-rows=2"]).await;
    let video = edith.video().await;
    edith.placement(&video, 0, 1).await;
    let keyed =
        async |key, start| edith.send("POST /placements", &[("idempotency-key", key)], &new(&video, start, 10)).await;
    let first = keyed("k-1", 0).await;
    first.expect(201);
    let create = async || edith.post("/placements", &new(&video, 0, 1)).await;
    let refused = found("commands are refused", async || {
        let told = create().await;
        if told.status == 503 { Ok(told) } else { Err(told) }
    })
    .await;
    refused.refused(503, "outbox_full");
    assert_eq!(refused.header("retry-after"), Some("5"));
    // What was done before has its answer.
    let again = keyed("k-1", 0).await;
    assert_eq!((again.expect(201), again.header("idempotent-replayed")), (first.body(), Some("true")));
    keyed("k-1", 1).await.refused(422, "key_reused");
    keyed("k-2", 0).await.refused(503, "outbox_full");
    edith.get(&format!("/videos/{video}")).await.expect(200);
    edith.sql("DELETE FROM outbox").await;
    until("commands are taken again", async || create().await.status == 201).await;
}

#[tokio::test]
async fn the_outbox_has_its_bound_for_campaigns_too() {
    let app = TestApp::with("ads_outbox", &["--outbox-max-rows=1"]).await;
    let alice = As(&app, Some(advertiser("alice")));
    let id = alice.create(&demo()).await["id"].clone();
    alice.create(&demo()).await;
    let pause = async || alice.call(&format!("POST /campaigns/{id}/pause")).send().await.unwrap();
    let refused = found("commands are refused", async || {
        let told = pause().await;
        if told.status() == 503 { Ok(told) } else { Err(told.status()) }
    })
    .await;
    is_refused(refused, 503, "outbox_full", Some("5")).await;
    let budget = json!({"total_budget": "6"});
    is_refused(alice.patch(&id, Some("*"), &budget).await, 503, "outbox_full", Some("5")).await;
    is_refused(alice.send("POST /campaigns", &demo()).await, 503, "outbox_full", Some("5")).await;
    assert_eq!(alice.get(&format!("/campaigns/{id}")).await.0, 200);
    let pool = sqlx::PgPool::connect(&app.scope.database_url).await.unwrap();
    sqlx::query("DELETE FROM outbox").execute(&pool).await.unwrap();
    until("commands are taken again", async || pause().await.status() == 200).await;
}

/// For example because there are so many rows that counting them takes too long.
#[tokio::test]
async fn an_outbox_that_cannot_be_counted_has_its_bound() {
    let edith = Editor::with("placements_uncounted", &["--outbox-max-rows=2"]).await;
    let video = edith.video().await;
    edith.sql("ALTER TABLE outbox RENAME COLUMN written_at TO uncounted").await;
    let create = async || edith.post("/placements", &new(&video, 0, 1)).await.status;
    for _ in 0..2 {
        assert_eq!(create().await, 201);
    }
    until("commands are refused", async || create().await == 503).await;
    edith.post("/placements", &new(&video, 0, 1)).await.refused(503, "outbox_full");
    edith.sql("DELETE FROM outbox").await;
    until("commands are taken again", async || create().await == 201).await;
}

#[tokio::test]
async fn a_command_that_waits_for_another_one_in_vain_is_known_to_be_undone() {
    let edith = Editor::start("placements_locked").await;
    let video = edith.video().await;
    let mut other = edith.pool.begin().await.unwrap();
    let lock = "SELECT last FROM sequences WHERE aggregate = $1 FOR NO KEY UPDATE";
    sqlx::query(lock).bind(&video).execute(&mut *other).await.unwrap();
    let create = async || edith.send("POST /placements", &[("idempotency-key", "k")], &new(&video, 0, 1)).await;
    let refused = create().await;
    refused.refused(503, "store_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text("detail").contains("nothing was done"), "{}", refused.text);
    other.rollback().await.unwrap();
    let made = create().await;
    assert_eq!((made.status, made.header("idempotent-replayed")), (201, None));
    assert_eq!(edith.number("SELECT count(*) FROM placements").await, 1);
}
