//! Validations: each that is asked for ends once, with a report of what the video is then; and what campaigns told.

use shared::kafka::Cause;
use shared::placements::queries::commands::{Call, Done, Outcome, request_validation};
use shared::placements::queries::validations::expire_validations;
use shared::placements::{ValidationId, VideoId};
use shared::store::idempotency::StoredAnswer;
use worker_service::placements::overdue::end_overdue;
use worker_service::placements::validator::{Asked, Validator};

use super::kit::{COMPLETED, Placements, REQUESTED, delivery};
use crate::prelude::*;

const CAMPAIGN: &str = "com.nedlia.campaign.updated";
const ENDED: &str = "com.nedlia.campaign.ended";

impl Placements {
    fn validator(&self) -> Validator {
        Validator::new(self.store.clone(), self.bell(), Duration::MAX)
    }

    /// The status of a validation, its version, and its findings.
    async fn validation(&self, id: ValidationId) -> (String, i64, Value) {
        let sql = "SELECT status, version, coalesce(findings, 'null')::text FROM validations WHERE id = $1::uuid";
        let query = sqlx::query_as(sql).bind(id.to_string());
        let (status, version, findings): (String, i64, String) = query.fetch_one(&self.pool).await.unwrap();
        (status, version, serde_json::from_str(&findings).unwrap())
    }

    async fn until_ended(&self, id: ValidationId) -> (i64, Value) {
        let ended = async || match self.validation(id).await {
            (status, version, findings) if status == "succeeded" => Ok((version, findings)),
            other => Err(other),
        };
        found(&format!("{id} has ended"), ended).await
    }

    /// Asks for a validation as the API does.
    async fn command(&self, video: VideoId) -> ValidationId {
        let [correlation_id, request_id, user_id] = ["c-1", "r-1", "editor"].map(|text| Some(text.to_owned()));
        let cause = Cause { correlation_id, request_id, user_id, ..Cause::default() };
        let call = Call { key: None, cause, now: OffsetDateTime::now_utc() };
        let answer = |_: &Outcome| StoredAnswer { status: 202, headers: Vec::new(), body: String::new() };
        match request_validation(&self.store, &call, video, &answer).await.unwrap() {
            Done::Decided { outcome: Ok(written), .. } => written.id.parse().unwrap(),
            refused => panic!("{refused:?}"),
        }
    }

    async fn put_request(&self, id: ValidationId, video: &str, number: i64) {
        let data = json!({"validationId": id.to_string(), "videoId": video, "revision": 1});
        self.put_event(REQUESTED, video, number, &data).await;
    }
}

fn campaign_data(status: &str) -> Value {
    json!({"campaignId": 7, "name": "c", "status": status, "revision": 1, "owner": "o"})
}

fn codes(findings: &Value) -> Vec<&str> {
    findings.as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_ends_with_a_report_of_the_video() {
    let all = Placements::new("validator", |scope| &scope.validator_group).await;
    let worker = all.worker_of(&["validator"]);
    let video = all.video().await;
    let (long, _) = all.place(video, "mug", (59_000, 61_000)).await;
    let (id, number) = all.request(video).await;
    all.put_request(id, &video.to_string(), number).await;
    let (version, findings) = all.until_ended(id).await;
    assert_eq!(codes(&findings), ["out_of_bounds", "product_missing"]);
    assert_eq!(findings[0]["placementIds"], json!([long.to_string()]));
    let expected = shared::placements::validate::validate(&all.snapshot(video).await);
    assert_eq!(findings, serde_json::to_value(&expected.findings).unwrap());

    let published = all.outbox().await;
    let [told] = &published[..] else { panic!("{published:?}") };
    assert_eq!((told.event_type.as_str(), told.sequence, version), (COMPLETED, number + 1, 2 * (number + 1)));
    let data = json!({"validationId": id.to_string(), "videoId": video.to_string(), "revision": 2,
                      "status": "succeeded", "errors": 2, "warnings": 0});
    assert_eq!(told.data, data);
    assert_eq!(told.attributes["correlationid"], "c-1");
    assert_eq!(all.count("SELECT version FROM videos").await, 2, "the video itself has not changed");

    // Another validation is of the video as it is then; the first one keeps its report.
    all.sql(
        "INSERT INTO products (id, name, active) VALUES ('mug', 'Mug', true); UPDATE videos SET duration_ms = 70000",
    )
    .await;
    let (again, number) = all.request(video).await;
    all.put_request(again, &video.to_string(), number).await;
    assert_eq!(all.until_ended(again).await.1, json!([]));
    assert_eq!(all.validation(id).await.2, findings);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_runs_before_it_ends_and_ends_once() {
    let all = Placements::new("validator_once", |scope| &scope.validator_group).await;
    let handler = all.validator();
    let video = all.video().await;
    let (id, number) = all.request(video).await;
    let data = json!({"validationId": id.to_string(), "videoId": video.to_string(), "revision": 1});
    let event = |name| delivery::<Validator>((name, number), REQUESTED, &video.to_string(), number, &data);
    let (first, other) = (event("a"), event("b"));
    let early = handler.prepare(&[&first]).await.unwrap();
    let late = handler.prepare(&[&first]).await.unwrap();
    let (status, version, _) = all.validation(id).await;
    assert_eq!((status.as_str(), version), ("running", 2 * number + 1), "once, however often it is prepared");
    let applied = all.apply_prepared(&handler, &[&first, &first], &early).await;
    assert_eq!(applied.events.iter().map(|event| event.outcome).collect::<Vec<_>>(), ["applied", "repeated"]);
    assert_eq!(applied.fences, [(id.cache_key(), 2 * (number + 1))]);
    // Another event asks for the same one, and another worker had prepared it.
    let applied = all.apply_prepared(&handler, &[&other], &late).await;
    assert_eq!(applied.events[0].outcome, "unchanged");
    assert_eq!(applied.fences, [(id.cache_key(), 2 * (number + 1))]);
    assert!(handler.prepare(&[&first]).await.unwrap().is_empty(), "it has ended");
    assert_eq!(all.outbox().await.len(), 1);
    assert_eq!(all.validation(id).await.0, "succeeded");
}

/// Its event became a dead letter, or was purged.
#[tokio::test(flavor = "multi_thread")]
async fn a_validation_that_nobody_runs_fails_after_a_day() {
    let all = Placements::new("validator_overdue", |scope| &scope.validator_group).await;
    let video = all.video().await;
    let overdue = all.command(video).await;
    // An earlier version kept no cause.
    let (older, _) = all.request(video).await;
    all.sql("UPDATE validations SET status = 'running', requested_at = requested_at - interval '25 hours'").await;
    let (young, number) = all.request(video).await;
    assert_eq!(end_overdue(&all.store).await.unwrap(), 2);
    assert_eq!(all.validation(overdue).await, ("failed".to_owned(), 2 * (number + 1), Value::Null));
    assert_eq!(all.validation(older).await, ("failed".to_owned(), 2 * (number + 2), Value::Null));
    assert_eq!(all.validation(young).await.0, "queued");
    let failed = "SELECT count(*) FROM validations
                  WHERE error = 'it was not run within a day' AND finished_at IS NOT NULL";
    assert_eq!(all.count(failed).await, 2);

    let published = all.outbox().await;
    let [asked, told, uncaused] = &published[..] else { panic!("{published:?}") };
    assert_eq!((asked.event_type.as_str(), asked.attributes.get("causationid")), (REQUESTED, None));
    assert_eq!((told.event_type.as_str(), told.sequence), (COMPLETED, number + 1));
    assert_eq!((&told.data["validationId"], &told.data["status"]), (&json!(overdue.to_string()), &json!("failed")));
    // As if it had been run.
    let sql = "SELECT event_id::text FROM outbox WHERE type = $1";
    let cause: String = sqlx::query_scalar(sql).bind(REQUESTED).fetch_one(&all.pool).await.unwrap();
    for (name, expected) in
        [("correlationid", "c-1"), ("causationid", cause.as_str()), ("requestid", "r-1"), ("userid", "editor")]
    {
        assert_eq!(told.attributes[name], expected, "{name}: {told:?}");
    }
    assert_eq!((uncaused.event_type.as_str(), uncaused.sequence), (COMPLETED, number + 2));
    assert!(uncaused.attributes.get("correlationid").is_none(), "{uncaused:?}");
    assert_eq!(end_overdue(&all.store).await.unwrap(), 0);
    assert_eq!(all.outbox().await.len(), 3);
}

/// What has not ended stays, however old it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_validation_is_deleted_when_it_ended_long_ago() {
    let all = Placements::new("validator_expired", |scope| &scope.validator_group).await;
    let video = all.video().await;
    let mut made = Vec::new();
    for end in ["now() - interval '31 days'", "now() - interval '31 days'", "now() - interval '29 days'", "NULL"] {
        let (id, _) = all.request(video).await;
        let status = if end == "NULL" { "running" } else { "succeeded" };
        let sql = format!(
            "UPDATE validations SET status = '{status}', requested_at = now() - interval '40 days', finished_at = {end}
             WHERE id = '{id}'"
        );
        all.sql(sqlx::AssertSqlSafe(sql)).await;
        made.push(id.to_string());
    }
    let month = Duration::from_secs(30 * 86_400);
    let expire = async |rows| expire_validations(&all.store, month, rows).await.unwrap();
    assert_eq!(expire(1).await, Some(1));
    // The task does the rest, with the default.
    let worker = all.worker_of(&["validations-expire"]);
    all.until("SELECT count(*) FROM validations", 2).await;
    worker.stop().await.unwrap();
    assert_eq!(expire(100).await, Some(0));
    let left = sqlx::query_scalar("SELECT id::text FROM validations ORDER BY version");
    let left: Vec<String> = left.fetch_all(&all.pool).await.unwrap();
    assert_eq!(left, made[2..]);
}

/// Two that are asked for at once take numbers in their order.
#[tokio::test(flavor = "multi_thread")]
async fn several_of_a_video_end_in_their_order() {
    let all = Placements::new("validator_several", |scope| &scope.validator_group).await;
    let handler = all.validator();
    let video = all.video().await;
    let mut events = Vec::new();
    for name in ["a", "b", "c"] {
        let (id, number) = all.request(video).await;
        let data = json!({"validationId": id.to_string(), "videoId": video.to_string(), "revision": 1});
        events.push(delivery::<Validator>((name, number), REQUESTED, &video.to_string(), number, &data));
    }
    all.apply(&handler, &events.iter().collect::<Vec<_>>()).await;
    let told: Vec<_> =
        all.outbox().await.iter().map(|told| (told.sequence, told.attributes["causationid"].clone())).collect();
    assert_eq!(told, [(5, json!("a")), (6, json!("b")), (7, json!("c"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_are_known_by_their_newest_event() {
    let all = Placements::new("validator_campaigns", |scope| &scope.validator_group).await;
    let handler = all.validator();
    let told = |name, sequence, event_type, status| {
        delivery::<Validator>((name, sequence), event_type, "campaign-7", sequence, &campaign_data(status))
    };
    let outcomes = async |batch: &[Delivery<Asked>]| {
        let applied = all.apply(&handler, &batch.iter().collect::<Vec<_>>()).await;
        applied.events.iter().map(|event| (event.outcome, event.counts)).collect::<Vec<_>>()
    };
    let (first, second, ended) =
        (told("a", 1, CAMPAIGN, "draft"), told("b", 2, CAMPAIGN, "active"), told("c", 3, ENDED, "ended"));
    let new = ("applied", true);
    assert_eq!(outcomes(&[first.clone(), ended.clone(), second.clone()]).await, [new, new, ("unchanged", false)]);
    assert_eq!(
        outcomes(&[first, ended, told("d", 2, CAMPAIGN, "active")]).await,
        [("repeated", true), ("repeated", true), ("unchanged", false)]
    );
    assert_eq!(all.count("SELECT sequence FROM placement_campaigns WHERE id = 7 AND status = 'ended'").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_missing_until_an_event_told_of_it() {
    let all = Placements::new("validator_missing", |scope| &scope.validator_group).await;
    let worker = all.worker_of(&["validator"]);
    let video = all.video().await;
    all.place(video, "mug", (0, 1_000)).await;
    all.sql(
        "INSERT INTO products (id, name, active) VALUES ('mug', 'Mug', true);
             UPDATE placements SET campaign_id = 7",
    )
    .await;
    let validate = async || {
        let (id, number) = all.request(video).await;
        all.put_request(id, &video.to_string(), number).await;
        all.until_ended(id).await.1
    };
    assert_eq!(codes(&validate().await), ["campaign_missing"]);
    for (number, status) in [(1, "active"), (2, "ended")] {
        let event_type = if status == "ended" { ENDED } else { CAMPAIGN };
        all.put_event(event_type, "campaign-7", number, &campaign_data(status)).await;
        all.until("SELECT coalesce(max(sequence), 0) FROM placement_campaigns", number).await;
        let findings = validate().await;
        assert_eq!(codes(&findings), if status == "ended" { vec!["campaign_ended"] } else { vec![] });
    }
    worker.stop().await.unwrap();
}
