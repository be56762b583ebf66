//! Idempotency keys: a command that is sent again with its key is done once, and gets the same answer.

use crate::placements_kit::{Editor, Told, item, new, of};
use crate::prelude::*;

const KEY: [(&str, &str); 1] = [("idempotency-key", "k-1")];

impl Editor {
    async fn keyed(&self, call: &str, body: &Value) -> Told {
        self.send(call, &KEY, body).await
    }
}

/// The same status, body and own headers, and it says that it is a repeat.
fn repeats(again: &Told, first: &Told) {
    assert_eq!((again.status, &again.text), (first.status, &first.text), "to the byte");
    for name in ["location", "etag", "retry-after", "content-type", "cache-control"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
}

#[tokio::test]
async fn each_command_is_done_once_for_its_key() {
    let edith = Editor::start("keys_once").await;
    let video = edith.video().await;
    let first = edith.placement(&video, 0, 9).await.text("id");
    let rows = async || edith.number("SELECT count(*) FROM outbox").await;
    for (number, (call, body, status)) in [
        ("POST /videos".to_owned(), json!({"title": "t", "durationMs": 1}), 201),
        ("POST /placements".to_owned(), new(&video, 0, 1), 201),
        (format!("POST /videos/{video}/placements"), json!([item(0, 1), item(1, 2)]), 201),
        (format!("POST /videos/{video}/validations"), Value::Null, 202),
        (format!("PATCH /placements/{first}"), json!({"layer": 1}), 200),
        (format!("PATCH /videos/{video}"), json!({"title": "new"}), 200),
        (format!("DELETE /placements/{first}"), Value::Null, 204),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("k-{number}");
        let tag = if call.contains("PATCH /videos") {
            "*".to_owned()
        } else {
            format!("\"{}\"", if number == 6 { 7 } else { 2 })
        };
        let headers = [("idempotency-key", key.as_str()), ("if-match", tag.as_str())];
        let made = edith.send(&call, &headers, &body).await;
        assert_eq!(made.status, status, "{call}: {}", made.text);
        let before = rows().await;
        repeats(&edith.send(&call, &headers, &body).await, &made);
        assert_eq!(rows().await, before, "{call}");
    }
}

#[tokio::test]
async fn a_refusal_is_repeated_too() {
    let edith = Editor::start("keys_refused").await;
    let none = "01890a5d-ac96-774b-bcce-b302099a8057";
    let refused = edith.keyed("POST /placements", &new(none, 0, 1)).await;
    refused.refused(404, "video_not_found");
    // It was decided: that the video is made meanwhile changes nothing.
    edith
        .sql(&format!("INSERT INTO videos (id, title, duration_ms, revision, version) VALUES ('{none}', 't', 1, 1, 1)"))
        .await;
    let again = edith.keyed("POST /placements", &new(none, 0, 1)).await;
    repeats(&again, &refused);
    assert_eq!(again.body()["request_id"], refused.header("x-request-id").unwrap(), "of the first request");
    // What is refused before the transaction decides nothing.
    edith
        .send("POST /videos", &[("idempotency-key", "k-2")], &json!({"title": ""}))
        .await
        .refused(422, "invalid_video");
    edith
        .send("POST /videos", &[("idempotency-key", "k-2")], &json!({"title": "t", "durationMs": 1}))
        .await
        .expect(201);
}

#[tokio::test]
async fn a_key_is_for_one_request_of_one_caller() {
    let edith = Editor::start("keys_reused").await;
    let video = json!({"title": "t", "durationMs": 1});
    edith.keyed("POST /videos", &video).await.expect(201);
    edith.keyed("POST /videos", &json!({"title": "other", "durationMs": 1})).await.refused(422, "key_reused");
    let id = edith.video().await;
    edith.keyed("POST /placements", &new(&id, 0, 1)).await.refused(422, "key_reused");
    assert_eq!(edith.number("SELECT count(*) FROM placements").await, 0);
    // Another state of what it changes is another request.
    let placement = edith.placement(&id, 0, 1).await.text("id");
    let patch = async |tag| {
        let headers = [("idempotency-key", "k-2"), ("if-match", tag)];
        edith.send(&format!("PATCH /placements/{placement}"), &headers, &json!({"layer": 1})).await
    };
    patch("\"9\"").await.refused(412, "precondition_failed");
    patch("\"2\"").await.refused(422, "key_reused");
    // In quotes it is the same key.
    let quoted = edith.send("POST /videos", &[("idempotency-key", "\"k-1\"")], &video).await;
    assert_eq!((quoted.status, quoted.header("idempotent-replayed")), (201, Some("true")));
    // Another caller has other keys.
    let request = edith.app.request("POST", "/videos").bearer_auth(of("eric", &["plugin"]));
    let request = request.header("idempotency-key", "k-1").header("content-type", "application/json");
    let others = Told::of(request.body(video.to_string()).send().await.unwrap()).await;
    assert_eq!((others.status, others.header("idempotent-replayed")), (201, None));
    for bad in ["", "\"k", &"k".repeat(256)] {
        edith.send("POST /videos", &[("idempotency-key", bad)], &video).await.refused(400, "bad_request");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    edith.send("POST /videos", &twice, &video).await.refused(400, "bad_request");
}

#[tokio::test]
async fn of_repeats_at_the_same_time_one_is_done() {
    let edith = Editor::with("keys_concurrent", &["--database-max-connections=16"]).await;
    let video = edith.video().await;
    let body = new(&video, 0, 1);
    let all = join_all((0..12).map(|_| edith.keyed("POST /placements", &body))).await;
    assert!(all.iter().all(|told| (told.status, &told.text) == (201, &all[0].text)), "{all:?}");
    let first = all.iter().filter(|told| told.header("idempotent-replayed").is_none()).count();
    assert_eq!((first, edith.number("SELECT count(*) FROM placements").await), (1, 1));
    assert_eq!(edith.number("SELECT count(*) FROM outbox").await, 2);
}

#[tokio::test]
async fn a_repeat_waits_for_the_first_one_and_not_for_ever() {
    let edith = Editor::start("keys_waits").await;
    // The first request, as it stands before its commit.
    let mut first = edith.pool.begin().await.unwrap();
    let insert = "INSERT INTO idempotency_keys (subject, key, fingerprint) VALUES ('edith', 'k-1', '')";
    sqlx::query(insert).execute(&mut *first).await.unwrap();
    let video = json!({"title": "t", "durationMs": 1});
    let refused = edith.keyed("POST /videos", &video).await;
    refused.refused(409, "key_in_progress");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // It ended without a commit, so that nothing was decided.
    let (made, ()) = tokio::join!(edith.keyed("POST /videos", &video), async { first.rollback().await.unwrap() });
    assert_eq!((made.status, made.header("idempotent-replayed")), (201, None));
    assert_eq!(edith.number("SELECT count(*) FROM videos").await, 1);
}
