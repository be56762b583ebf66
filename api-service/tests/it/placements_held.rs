//! Validations: asked for, polled, and held until their event comes.

use devstack::kit::owned_headers;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::placements_kit::{Editor, Told, numbered};
use crate::prelude::*;

const WAIT: [(&str, &str); 1] = [("prefer", "wait=30")];

impl Editor {
    /// Asks for a validation; returns its path and its id.
    async fn asked(&self, video: &str) -> (String, String) {
        let asked = self.send(&format!("POST /videos/{video}/validations"), &[], &Value::Null).await;
        let body = asked.expect(202);
        let (path, id) = (asked.header("location").unwrap().to_owned(), asked.text("id"));
        assert_eq!((&path, asked.header("retry-after")), (&format!("/validations/{id}"), Some("1")));
        assert_eq!(body, json!({"id": id, "videoId": video, "status": "queued", "revision": body["revision"]}));
        (path, id)
    }

    /// Acts as the worker: the validation has this report.
    async fn finish(&self, id: &str, findings: &Value) {
        self.sql(&format!(
            "UPDATE validations SET status = 'succeeded', findings = '{findings}', finished_at = now(),
                    updated_at = now(), version = version + 2 WHERE id = '{id}'"
        ))
        .await;
    }

    /// The event of a validation that has ended.
    async fn tell(&self, video: &str) {
        let mut settings = shared::kafka::client(&self.app.config.backbone.kafka).unwrap();
        let producer: FutureProducer = settings.set("partitioner", "murmur2_random").create().unwrap();
        let headers = [("ce_type", "com.nedlia.video.validation_completed"), ("ce_subject", video)];
        let record = FutureRecord::to(&self.app.scope.domain_topic).key(video).payload("{}");
        producer.send(record.headers(owned_headers(&headers)), Duration::from_secs(30)).await.unwrap();
    }
}

#[tokio::test]
async fn a_validation_is_always_accepted_and_read_until_it_is_done() {
    let edith = Editor::start("validations_walk").await;
    let video = edith.video().await;
    let placement = edith.placement(&video, 0, 1).await.text("id");
    let (path, id) = edith.asked(&video).await;
    let events = edith.events(&video).await;
    let (number, kind, subject, data) = &events[2];
    assert_eq!((number, &**kind, subject), (&3, "com.nedlia.video.validation_requested", &video));
    assert_eq!(data, &json!({"validationId": id, "videoId": video, "revision": 2}));

    for source in ["resource-cache; fwd=miss; stored", "resource-cache; hit"] {
        let queued = edith.get(&path).await;
        let body = queued.expect(200);
        assert_eq!((queued.header("cache-status"), queued.header("retry-after")), (Some(source), Some("1")));
        let members = [&body["version"], &body["revision"]];
        assert_eq!(
            (members, &body["status"], &body["stale"]),
            ([&json!(6), &json!(2)], &json!("queued"), &json!(false))
        );
        assert!(body.get("findings").is_none() && body["finishedAt"].is_null(), "{body}");
    }
    let finding =
        |severity: &str| json!({"code": "dense", "severity": severity, "placementIds": [placement], "detail": "d"});
    let findings = json!([finding("error"), finding("warning"), finding("warning")]);
    edith.finish(&id, &findings).await;
    // It is held no longer than it has to be, and read past the cache, in which it is queued.
    let done = edith.send(&format!("GET {path}"), &WAIT, &Value::Null).await;
    let body = done.expect(200);
    assert_eq!((&body["status"], &body["findings"]), (&json!("succeeded"), &findings));
    assert_eq!((&body["errors"], &body["warnings"], &body["stale"]), (&json!(1), &json!(2), &json!(false)));
    assert_eq!((done.header("preference-applied"), done.header("retry-after")), (Some("wait=30"), None));

    // The video moves on: the report is of an older revision.
    edith.placement(&video, 0, 1).await;
    let stale = edith.send(&format!("GET {path}"), &WAIT, &Value::Null).await;
    assert_eq!(stale.expect(200)["stale"], true);
    let tag = stale.header("etag").unwrap();
    assert!(tag.ends_with("-stale\"") && done.header("etag") != Some(tag), "{tag}");
    let known = [WAIT[0], ("if-none-match", tag)];
    assert_eq!(edith.send(&format!("GET {path}"), &known, &Value::Null).await.status, 304);
    let types =
        [(1, "video.created"), (2, "placement.created"), (3, "video.validation_requested"), (4, "placement.created")];
    assert_eq!(edith.types(&video).await, numbered(&types), "another validation takes a number, and no revision");

    for none in ["x", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        edith.get(&format!("/validations/{none}")).await.refused(404, "validation_not_found");
        let call = format!("POST /videos/{none}/validations");
        edith.send(&call, &[], &Value::Null).await.refused(404, "video_not_found");
    }
}

#[tokio::test]
async fn a_request_is_held_until_the_validation_is_done() {
    let edith = Editor::start("validations_held").await;
    let video = edith.video().await;
    let (path, id) = edith.asked(&video).await;
    let held = async || edith.send(&format!("GET {path}"), &WAIT, &Value::Null).await;
    let ends = async {
        until("both are held", async || edith.app.backbone.held_requests() == 2).await;
        edith.finish(&id, &json!([])).await;
        edith.tell(&video).await;
    };
    let (one, two, ()) = tokio::join!(held(), held(), ends);
    for told in [one, two] {
        assert_eq!(
            (&told.expect(200)["status"], told.header("preference-applied")),
            (&json!("succeeded"), Some("wait=30"))
        );
    }
    // After its time it is answered as it is.
    let (path, _) = edith.asked(&video).await;
    let told = edith.send(&format!("GET {path}"), &[("prefer", "wait=1")], &Value::Null).await;
    assert_eq!((&told.expect(200)["status"], told.header("preference-applied")), (&json!("queued"), Some("wait=1")));
}

#[tokio::test]
async fn no_more_requests_are_held_than_the_setting_allows() {
    let edith = Editor::with("validations_bound", &["--held-requests-max=0"]).await;
    let (path, _) = edith.asked(&edith.video().await).await;
    let told = edith.send(&format!("GET {path}"), &WAIT, &Value::Null).await;
    assert_eq!((&told.expect(200)["status"], told.header("preference-applied")), (&json!("queued"), None));
}

#[tokio::test]
async fn a_held_request_is_answered_when_the_service_ends() {
    let mut edith = Editor::start("validations_end").await;
    let (path, _) = edith.asked(&edith.video().await).await;
    let request = edith.call(&format!("GET {path}"), &WAIT, &Value::Null).send();
    let held = tokio::spawn(async move { Told::of(request.await.unwrap()).await });
    until("it is held", async || edith.app.backbone.held_requests() == 1).await;
    edith.app.stop();
    assert_eq!(held.await.unwrap().expect(200)["status"], "queued");
    edith.app.ended().await;
}
