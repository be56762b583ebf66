//! Videos: commands, reads from the cache, lists, and changes of a state that the caller has read.

use crate::placements_kit::{Editor, numbered};
use crate::prelude::*;

#[tokio::test]
async fn a_video_is_made_shown_and_changed() {
    let edith = Editor::start("videos_walk").await;
    let made = edith.post("/videos", &json!({"title": "A \"film\"", "durationMs": 60_000, "frameRate": 29.97})).await;
    let body = made.expect(201);
    let id = made.text("id");
    let path = format!("/videos/{id}");
    assert_eq!(made.header("location"), Some(&*path));
    let members = [&body["version"], &body["revision"], &body["readyRevision"], &body["placements"]];
    assert_eq!(members, [1, 1, 0, 0]);
    assert_eq!((&body["title"], &body["frameRate"]), (&json!("A \"film\""), &json!(29.97)));
    let processing = json!({"state": "processing", "revision": 1, "readyRevision": 0});
    assert_eq!((&body["files"], made.header("cache-control")), (&processing, Some("no-store")));

    // A command is read at once: the first read fills the cache, the second is served from it.
    for source in ["resource-cache; fwd=miss; stored", "resource-cache; hit"] {
        let shown = edith.get(&path).await;
        assert_eq!((shown.expect(200), shown.header("cache-status")), (body.clone(), Some(source)));
        assert_eq!(shown.header("etag"), made.header("etag"));
    }
    let tag = made.header("etag").unwrap();
    assert_eq!(edith.send(&format!("GET {path}"), &[("if-none-match", tag)], &Value::Null).await.status, 304);

    let changed = edith.patch(&path, tag, &json!({"title": "new", "frameRate": null})).await;
    let body = changed.expect(200);
    assert_eq!((&body["title"], &body["frameRate"], &body["revision"]), (&json!("new"), &Value::Null, &json!(2)));
    let shown = edith.get(&path).await;
    assert_eq!((shown.expect(200), shown.header("etag")), (body.clone(), changed.header("etag")), "it was fenced");
    // Without a difference nothing is published.
    let same = edith.patch(&path, changed.header("etag").unwrap(), &json!({"title": "new"})).await;
    assert_eq!((same.expect(200), same.header("etag")), (body, changed.header("etag")));
    assert_eq!(edith.types(&id).await, numbered(&[(1, "video.created"), (2, "video.updated")]));
    let events = edith.events(&id).await;
    let data = json!({"videoId": id, "title": "A \"film\"", "durationMs": 60_000, "frameRate": 29.97, "revision": 1});
    assert_eq!((&events[0].2, &events[0].3), (&id, &data));
    assert_eq!(events[1].3, json!({"videoId": id, "title": "new", "durationMs": 60_000, "revision": 2}));
}

#[tokio::test]
async fn an_event_carries_what_is_known_of_its_request() {
    let edith = Editor::start("videos_cause").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("x-request-id", "r-1"), ("x-correlation-id", "c-1"), ("traceparent", trace)];
    let made = edith.send("POST /videos", &headers, &json!({"title": "t", "durationMs": 1})).await;
    made.expect(201);
    let id = made.text("id");
    let attributes: String =
        sqlx::query_scalar("SELECT attributes::text FROM outbox").fetch_one(&edith.pool).await.unwrap();
    let mut attributes: Value = serde_json::from_str(&attributes).unwrap();
    let members = attributes.as_object_mut().unwrap();
    assert!(members.remove("traceparent").is_some_and(|parent| parent.as_str().unwrap().contains("0af7651916cd43dd")));
    let times = [members.remove("time").unwrap(), members.remove("acceptedat").unwrap()];
    assert!(times[0] == times[1] && times[0].as_str().unwrap().ends_with('Z'), "{times:?}");
    let expected = json!({
        "source": "/placements", "subject": id, "partitionkey": id, "sequence": "00000000000000000001",
        "dataschema": "/schemas/com.nedlia.video.created/1", "correlationid": "c-1", "requestid": "r-1",
        "userid": "edith"
    });
    assert_eq!(attributes, expected);
    // Without a correlation id of the caller it is the request's.
    let second = edith.send("POST /videos", &[("x-request-id", "r-2")], &json!({"title": "t", "durationMs": 1})).await;
    second.expect(201);
    let last = "SELECT attributes ->> 'correlationid' FROM outbox ORDER BY id DESC LIMIT 1";
    let correlation: String = sqlx::query_scalar(last).fetch_one(&edith.pool).await.unwrap();
    assert_eq!(correlation, "r-2");
    // The schema that the event names is there, and does not change.
    let schema = edith.get("/schemas/com.nedlia.video.created/1").await;
    assert_eq!(schema.expect(200)["title"], "A video was created");
    assert_eq!(schema.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let listed = edith.get("/schemas").await.expect(200);
    let types: Vec<_> = listed["schemas"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"com.nedlia.video.created") && types.contains(&"io.edge.device.reported.v1"), "{types:?}");
    edith.get("/schemas/com.nedlia.video.created/2").await.refused(404, "not_found");
    let document = edith.get("/asyncapi.json").await.expect(200);
    let messages = &document["channels"]["domain-events"]["messages"];
    for of_both in ["com.nedlia.video.created.1", "com.nedlia.campaign.created.1"] {
        assert!(messages.get(of_both).is_some(), "{of_both} is published there: {messages}");
    }
}

#[tokio::test]
async fn a_change_names_a_state_since_the_last_change_of_the_content() {
    let edith = Editor::start("videos_if_match").await;
    let id = edith.video().await;
    let path = format!("/videos/{id}");
    let first = edith.get(&path).await;
    let first = first.header("etag").unwrap();
    let change = |title: &str| json!({"title": title});
    edith.send(&format!("PATCH {path}"), &[], &change("a")).await.refused(428, "precondition_required");
    for stale in ["\"2\"", "\"x\"", "2", &format!("W/{first}")] {
        edith.patch(&path, stale, &change("a")).await.refused(412, "precondition_failed");
    }
    // Its files got ready: another version, and the same content.
    edith.sql("UPDATE videos SET ready_revision = 1, version = 2; UPDATE sequences SET last = 2").await;
    edith.patch(&path, first, &change("a")).await.expect(200);
    edith.patch(&path, first, &change("b")).await.refused(412, "precondition_failed");
    let second = edith.get(&path).await;
    let second = second.header("etag").unwrap();
    // A placement is a part of its content.
    edith.placement(&id, 0, 1).await;
    edith.patch(&path, second, &change("b")).await.refused(412, "precondition_failed");
    let body = edith.patch(&path, "*", &change("b")).await.expect(200);
    assert_eq!((&body["version"], &body["revision"], &body["placements"]), (&json!(5), &json!(5), &json!(1)));
    assert_eq!(body["files"], json!({"state": "processing", "revision": 5, "readyRevision": 1}));
    // Plain JSON is a merge patch, too, and a proxy may have added its suffix.
    let tag = edith.get(&path).await;
    let tag = tag.header("etag").unwrap().trim_end_matches('"').to_owned() + "-gzip\"";
    let plain = [("if-match", &*tag), ("content-type", "application/json")];
    let request = edith.call(&format!("PATCH {path}"), &plain[..1], &Value::Null);
    let response = request.header(plain[1].0, plain[1].1).body(r#"{"title":"c"}"#).send().await.unwrap();
    assert_eq!(checked(response).await.0, 200);
}

#[tokio::test]
async fn videos_are_listed_in_the_order_in_which_they_were_made() {
    let edith = Editor::start("videos_list").await;
    assert_eq!(edith.get("/videos").await.expect(200), json!({"videos": [], "next": null}));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(edith.video().await);
    }
    let listed = |body: &Value| -> Vec<String> {
        body["videos"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = edith.get("/videos?_=1").await.expect(200);
    assert_eq!((listed(&all), &all["next"]), (ids.clone(), &Value::Null));
    assert_eq!(all["videos"][0], edith.get(&format!("/videos/{}", ids[0])).await.expect(200));
    let page = edith.get("/videos?limit=2").await.expect(200);
    assert_eq!((listed(&page), &page["next"]), (ids[..2].to_vec(), &json!(ids[1])));
    let rest = edith.get(&format!("/videos?limit=2&after={}", ids[1])).await.expect(200);
    assert_eq!((listed(&rest), &rest["next"]), (ids[2..].to_vec(), &Value::Null));
    for bad in ["limit=0", "limit=101", "after=x", "limit=1&limit=1"] {
        edith.get(&format!("/videos?{bad}")).await.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn what_is_no_video() {
    let edith = Editor::start("videos_bad").await;
    let none = "/videos/01890a5d-ac96-774b-bcce-b302099a8057";
    for source in ["resource-cache; fwd=miss; stored", "resource-cache; hit"] {
        let refused = edith.get(none).await;
        refused.refused(404, "video_not_found");
        assert_eq!(refused.header("cache-status"), Some(source));
    }
    edith.get("/videos/1").await.refused(404, "video_not_found");
    edith.patch(none, "*", &json!({"title": "t"})).await.refused(404, "video_not_found");
    let bad = json!({"title": "", "durationMs": 86_400_001, "frameRate": "x", "id": 1});
    let refused = edith.post("/videos", &bad).await;
    refused.refused(422, "invalid_video");
    assert_eq!(refused.pointers(), ["/durationMs", "/frameRate", "/id", "/title"]);
    let id = edith.video().await;
    let refused = edith.patch(&format!("/videos/{id}"), "*", &json!({"title": null, "x": 1})).await;
    refused.refused(422, "invalid_video");
    assert_eq!(refused.pointers(), ["/title", "/x"]);
    let broken = edith.call("POST /videos", &[("content-type", "application/json")], &Value::Null).body("{");
    is_refused(broken.send().await.unwrap(), 400, "not_json", None).await;
    let text = edith.call("POST /videos", &[("content-type", "text/plain")], &Value::Null).body("{}");
    is_refused(text.send().await.unwrap(), 415, "unsupported_media_type", None).await;
    assert_eq!(edith.number("SELECT count(*) FROM sequences").await, 1, "no refusal leaves a boundary");
}
