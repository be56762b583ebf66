//! Ad events: what is accepted, what is refused and why, and who may send them.

use std::cell::Cell;

use shared::ads::{AdEvent, AdStream};
use shared::kafka::{Stream as _, decode};
use time::OffsetDateTime;

use crate::ads_kit::{Ads, event, impression, named};
use crate::prelude::*;
use crate::topic::records_of;

#[tokio::test]
async fn an_accepted_event_says_what_it_costs_and_its_record_says_who_pays() {
    let ads = Ads::start("ads_accepted").await;
    let campaign = ads.campaign(json!({"timezone": "Asia/Tokyo"})).await;
    let sent = json!({
        "campaign_id": campaign.to_string(), "user_id": "u 1", "event_type": "impression", "event_id": "e-1",
        "occurred_at": "2026-01-02T03:04:05+01:00", "user_agent": "agent"
    });
    let answer = ads.accepted(&sent).await;
    let today = OffsetDateTime::now_utc().to_offset(time::macros::offset!(+9)).date().to_string();
    for (member, expected) in [
        ("event_id", json!("e-1")),
        ("campaign_id", json!(campaign)),
        ("user_id", json!("u 1")),
        ("event_type", json!("impression")),
        ("day", json!(today)),
        ("cost", json!("0.01")),
    ] {
        assert_eq!(answer[member], expected, "{member}");
    }
    assert_eq!(answer.as_object().unwrap().len(), 9, "{answer}");
    ads.accepted(&event(campaign, "u 1", "click")).await;

    let records = records_of(&ads.app, &ads.app.scope.ads_topic, 2).await;
    let [shown, clicked] = &records[..] else { panic!("{records:?}") };
    assert_eq!(shown.key(), Some(format!("{campaign}:u 1").as_bytes()));
    assert_eq!(shown.partition, clicked.partition);
    let (envelope, _) = decode(shown, &AdStream::SPEC).unwrap();
    assert_eq!((envelope.user_id.as_deref(), envelope.id.as_str()), (Some("alice"), "e-1"));
    assert_eq!(answer["ts"], shared::runtime::rfc3339::format(micros(envelope.accepted_at)));
    let event = AdEvent::decode(&envelope).unwrap();
    assert_eq!((event.cost.to_string(), event.day.to_string()), ("0.01".to_owned(), today));
    let lease: String = sqlx::query_scalar("SELECT id FROM ad_leases").fetch_one(&ads.pool).await.unwrap();
    assert_eq!(event.lease, Some(lease));
    let event = AdEvent::decode(&decode(clicked, &AdStream::SPEC).unwrap().0).unwrap();
    assert_eq!((event.lease, event.cost.to_string()), (None, "0".to_owned()), "a click is free");
}

fn micros(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(at.microsecond() * 1_000).unwrap()
}

#[tokio::test]
async fn a_budget_is_spent_to_the_last_unit_and_no_further() {
    let ads = Ads::start("ads_budget").await;
    let campaign = ads.campaign(json!({"total_budget": "0.05"})).await;
    for n in 0..5 {
        ads.accepted(&named(impression(campaign, "u"), &n.to_string())).await;
    }
    let (refused, later) = ads.refused(&impression(campaign, "u"), 409, "budget_exhausted").await;
    assert_eq!((&refused["scope"], later), (&json!("total"), Some(1)), "a lease may come back");
    for event_type in ["click", "conversion"] {
        ads.accepted(&event(campaign, "u", event_type)).await;
    }
    ads.work(7).await;
    assert_eq!(ads.number("SELECT spent FROM campaigns").await, 50_000_000);
    let finally = async || {
        let (refused, later) = ads.refused(&impression(campaign, "u"), 409, "budget_exhausted").await;
        (refused["scope"] == "total" && later.is_none()).then_some(()).ok_or(later)
    };
    found("it is truly spent", finally).await;

    // The repeat of an event that counts.
    let repeat = ads.accepted(&named(impression(campaign, "u"), "3")).await;
    assert_eq!((&repeat["event_id"], &repeat["cost"]), (&json!("3"), &json!("0.01")));
    ads.refused(&named(impression(campaign, "other"), "3"), 409, "budget_exhausted").await;
    ads.refused(&named(impression(campaign, "u"), "new"), 409, "budget_exhausted").await;
    let two = json!([named(impression(campaign, "u"), "4"), named(impression(campaign, "u"), "new")]);
    let response = ads.post("/ad-events/batch", &two).send().await.unwrap();
    let (status, _, body) = checked(response).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["accepted"], &body["items"][1]["code"]), (207, &json!(1), &json!("budget_exhausted")));
    assert_eq!(records_of(&ads.app, &ads.app.scope.ads_topic, 8).await.len(), 7, "repeats need no record");
}

#[tokio::test]
async fn a_day_has_its_own_budget() {
    let ads = Ads::start("ads_day").await;
    let campaign = ads.campaign(json!({"daily_budget": "0.02"})).await;
    ads.accepted(&impression(campaign, "u")).await;
    ads.accepted(&impression(campaign, "u")).await;
    ads.work(2).await;
    let until_tomorrow = async || {
        let (refused, later) = ads.refused(&impression(campaign, "u"), 409, "budget_exhausted").await;
        assert_eq!(refused["scope"], "day");
        let now = OffsetDateTime::now_utc();
        let left = 86_400 - u64::from(now.hour()) * 3_600 - u64::from(now.minute()) * 60 - u64::from(now.second());
        later.filter(|later| (left.saturating_sub(60)..=left + 60).contains(later)).ok_or((later, left))
    };
    found("the next day is told", until_tomorrow).await;
}

#[tokio::test]
async fn a_user_sees_no_more_than_the_cap_and_a_retry_counts_once() {
    let ads = Ads::start("ads_cap").await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
    let a = named(impression(campaign, "u"), "a");
    ads.accepted(&a).await;
    ads.accepted(&a).await;
    ads.accepted(&named(impression(campaign, "u"), "b")).await;
    let c = named(impression(campaign, "u"), "c");
    let (refused, later) = ads.refused(&c, 429, "frequency_capped").await;
    assert_eq!(refused["event_id"], "c");
    assert!((1..=86_400).contains(&later.unwrap()), "{later:?}");
    ads.accepted(&a).await;
    ads.accepted(&event(campaign, "u", "click")).await;
    ads.accepted(&impression(campaign, "other")).await;
    let other = ads.campaign(json!({})).await;
    for _ in 0..5 {
        ads.accepted(&impression(other, "u")).await;
    }

    // Of a batch, later events see the earlier ones.
    let events = json!([
        named(impression(campaign, "v"), "1"),
        named(impression(campaign, "v"), "2"),
        named(impression(campaign, "v"), "3"),
        named(impression(campaign, "v"), "1"),
        event(campaign, "v", "click")
    ]);
    let response = ads.post("/ad-events/batch", &events).send().await.unwrap();
    let (status, _, body) = checked(response).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let statuses: Vec<_> = body["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64()).collect();
    assert_eq!((status, statuses), (207, [202, 202, 429, 202, 202].map(Some).to_vec()));
    // What the cap refused costs nothing, and a repeat costs once.
    ads.work(15).await;
    assert_eq!(ads.number("SELECT spent FROM campaigns WHERE id = 1").await, 50_000_000);
}

#[tokio::test]
async fn a_campaign_that_does_not_run_says_why() {
    let ads = Ads::start("ads_state").await;
    ads.refused(&impression(7, "u"), 404, "campaign_not_found").await;
    let campaign = ads.campaign(json!({})).await;
    ads.accepted(&impression(campaign, "u")).await;
    let paused = ads.post("/campaigns/1/pause", &Value::Null).send().await.unwrap();
    assert_eq!(paused.status(), 200);
    // Some may be accepted until it takes hold.
    let accepted = Cell::new(1);
    until("the pause takes hold", async || {
        let status = ads.status(&impression(campaign, "u")).await;
        accepted.set(accepted.get() + i64::from(status == 202));
        status == 409
    })
    .await;
    let (refused, later) = ads.refused(&impression(campaign, "u"), 409, "campaign_not_active").await;
    assert_eq!((&refused["detail"], later), (&json!("the campaign is paused"), None));
    let used = accepted.get() * 10_000_000;
    until("its money goes back", async || ads.number("SELECT reserved FROM campaigns").await == used).await;
    assert_eq!(ads.post("/campaigns/1/resume", &Value::Null).send().await.unwrap().status(), 200);
    until("it goes on", async || ads.status(&impression(campaign, "u")).await == 202).await;
    for (members, detail) in [
        (json!({"status": "draft"}), "the campaign is a draft"),
        (json!({"starts_at": "2999-01-01T00:00:00Z"}), "the campaign has not started yet"),
        (json!({"ends_at": "2001-01-01T00:00:00Z"}), "the campaign has ended"),
    ] {
        let campaign = ads.campaign(members).await;
        let (refused, _) = ads.refused(&impression(campaign, "u"), 409, "campaign_not_active").await;
        assert_eq!(refused["detail"], detail);
    }
}

#[tokio::test]
async fn even_pacing_says_when_there_is_room_again() {
    let ads = Ads::start("ads_paced").await;
    // Where it is between one and two o'clock.
    let hour = i64::from(OffsetDateTime::now_utc().hour());
    let zone = if hour <= 13 { format!("Etc/GMT+{}", hour - 1) } else { format!("Etc/GMT-{}", 25 - hour) };
    let zone = zone.replace("+-1", "-1");
    let campaign = ads.campaign(json!({"pacing": "even", "daily_budget": "0.10", "timezone": zone})).await;
    let first = named(impression(campaign, "u"), "first");
    ads.accepted(&first).await;
    let (_, later) = ads.refused(&impression(campaign, "u"), 409, "paced").await;
    assert!((1..=3 * 3_600).contains(&later.unwrap()), "{later:?} {zone}");
    ads.work(1).await;
    assert_eq!(ads.accepted(&first).await["cost"], "0.01", "a repeat");
}

#[tokio::test]
async fn a_lenient_batch_is_to_be_sent_again_if_an_event_may_be_accepted_on_its_day() {
    let ads = Ads::start("ads_lenient").await;
    let capped = ads.campaign(json!({"freq_cap_impressions_per_day": 1})).await;
    let lent = ads.campaign(json!({})).await;
    // Other instances have all of it, and may give some of it back.
    ads.sql("UPDATE campaigns SET reserved = total_budget WHERE id = 2").await;
    let send = async |events: &[Value]| {
        let batch = ads.post("/ad-events/batch", &json!(events)).header("prefer", "handling=lenient");
        let (status, headers, body) = checked(batch.send().await.unwrap()).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let items = body["items"].as_array().unwrap().iter();
        let items: Vec<_> = items.map(|item| (item["status"].clone(), item["code"].clone())).collect();
        let wait = headers.get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        (status, body["code"].clone(), wait, json!(items))
    };
    let [one, two] = ["a", "b"].map(|id| named(impression(capped, "u"), id));
    let over = json!([429, "frequency_capped"]);
    let told = send(&[one.clone(), two.clone()]).await;
    assert_eq!(told, (202, Value::Null, None, json!([[202, null], over])));
    let told = send(std::slice::from_ref(&two)).await;
    assert_eq!(told, (202, Value::Null, None, json!([over])), "not even if it is all");
    let later = named(impression(lent, "u"), "c");
    let told = send(&[one, two, later]).await;
    let items = json!([[202, null], over, [409, "budget_exhausted"]]);
    assert_eq!(told, (429, json!("retry_later"), Some("1".to_owned()), items));
}

#[tokio::test]
async fn a_click_or_a_conversion_is_paid_and_impressions_need_room_for_one() {
    let ads = Ads::start("ads_models").await;
    let cpc = ads.campaign(json!({"pricing_model": "cpc", "unit_price": "0.5", "total_budget": "1"})).await;
    assert_eq!(ads.accepted(&impression(cpc, "u")).await["cost"], "0");
    for _ in 0..2 {
        assert_eq!(ads.accepted(&event(cpc, "u", "click")).await["cost"], "0.5");
    }
    ads.refused(&impression(cpc, "u"), 409, "budget_exhausted").await;
    ads.refused(&event(cpc, "u", "click"), 409, "budget_exhausted").await;
    assert_eq!(ads.accepted(&event(cpc, "u", "conversion")).await["cost"], "0");
    let cpa = json!({"pricing_model": "cpa", "unit_price": "1", "total_budget": "1", "on_exhausted": "record"});
    let cpa = ads.campaign(cpa).await;
    assert_eq!(ads.accepted(&event(cpa, "u", "conversion")).await["cost"], "1");
    let late = event(cpa, "u", "conversion");
    let (_, later) = ads.refused(&late, 409, "budget_exhausted").await;
    assert_eq!(later, Some(1), "until it is applied, its money may come back");
    ads.work(5).await;
    until("the budget is truly spent", async || ads.status(&late).await == 202).await;
    assert_eq!(ads.accepted(&late).await["cost"], "0", "recorded, not billed");
    ads.refused(&impression(cpa, "u"), 409, "budget_exhausted").await;
    let free = ads.campaign(json!({"unit_price": "0"})).await;
    assert_eq!(ads.accepted(&impression(free, "u")).await["cost"], "0");
}

#[tokio::test]
async fn the_path_decides_which_event_it_is() {
    let ads = Ads::start("ads_paths").await;
    let campaign = ads.campaign(json!({})).await;
    let response = ads.post("/events/", &impression(campaign, "u")).send().await.unwrap();
    assert_eq!(checked(response).await.0, 202);
    let device = json!({"device_id": "d", "payload": {}});
    for (path, body, hint) in [
        ("/events", impression(campaign, "u"), "ad events go to /events/ or /ad-events"),
        ("/events/batch", json!([impression(campaign, "u")]), "batches of them to /ad-events/batch"),
        ("/events/", device.clone(), "events of devices go to /events"),
        ("/ad-events", device.clone(), "events of devices go to /events"),
        ("/ad-events/batch", json!([device]), "batches of them to /events/batch"),
    ] {
        let refused = problem(ads.post(path, &body).send().await.unwrap()).await;
        assert_eq!(refused["code"], "invalid_event");
        let errors = refused["errors"].as_array().unwrap();
        let told = errors.iter().any(|error| error["detail"].as_str().unwrap().contains(hint));
        assert!(told, "{path}: {refused}");
    }
    let lines = format!("{}\n{}\n", impression(campaign, "u"), event(campaign, "u", "click"));
    let batch = ads.app.request("POST", "/ad-events/batch").bearer_auth(admin());
    let response = batch.header("content-type", "application/x-ndjson").body(lines).send().await.unwrap();
    assert_eq!(checked(response).await.0, 202);
    let cloud_event = json!({
        "specversion": "1.0", "type": "io.edge.ad.impression.v1", "source": "/s", "id": "e",
        "subject": format!("{campaign}:u"), "data": {"user_agent": "x"}
    });
    let request = ads.post("/ad-events", &cloud_event).header("content-type", "application/cloudevents+json");
    assert_eq!(request.send().await.unwrap().status(), 415, "two types");
    let request = ads.app.request("POST", "/ad-events").bearer_auth(admin());
    let request = request.header("content-type", "application/cloudevents+json").body(cloud_event.to_string());
    assert_eq!(checked(request.send().await.unwrap()).await.0, 202);
}

#[tokio::test]
async fn who_may_send_which_events() {
    let ads = Ads::start("ads_roles").await;
    let campaign = ads.campaign(json!({})).await;
    let token = |roles: &[&str]| token(roles, &[]);
    let send = async |token: Option<&str>, event: &Value| {
        let request = ads.app.request("POST", "/ad-events").header("content-type", "application/json");
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        checked(request.body(event.to_string()).send().await.unwrap()).await.0
    };
    let (own, foreign) = (impression(campaign, "alice"), impression(campaign, "bob"));
    let conversion = event(campaign, "alice", "conversion");
    for (roles, expected) in [
        (&["tracker"][..], [202, 202, 202]),
        (&["admin"], [202, 202, 202]),
        (&["device"], [202, 403, 403]),
        (&["device", "tracker"], [202, 202, 202]),
        (&["advertiser"], [403, 403, 403]),
        (&["user"], [403, 403, 403]),
        (&[], [403, 403, 403]),
    ] {
        let token = token(roles);
        for (event, status) in [&own, &foreign, &conversion].into_iter().zip(expected) {
            assert_eq!(send(Some(&token), event).await, status, "{roles:?} {event}");
        }
    }
    assert_eq!(send(None, &own).await, 401);
    assert_eq!(send(Some("nonsense"), &own).await, 401);

    // A device may send its own in a batch.
    let both = json!([own, foreign]);
    let request = ads.app.request("POST", "/ad-events/batch").bearer_auth(token(&["device"]));
    let response = request.header("content-type", "application/json").body(both.to_string()).send().await.unwrap();
    let body: Value = serde_json::from_slice(&checked(response).await.2).unwrap();
    assert_eq!((&body["accepted"], &body["items"][1]["code"]), (&json!(1), &json!("forbidden")));
}

#[tokio::test]
async fn without_a_token_only_what_the_setting_allows() {
    let ads = Ads::with("ads_anonymous", &["--ads-anonymous-roles=tracker"]).await;
    let campaign = ads.campaign(json!({})).await;
    let post = |path: &str, body: &Value| {
        ads.app.request("POST", path).header("content-type", "application/json").body(body.to_string())
    };
    for path in ["/ad-events", "/events/"] {
        let response = post(path, &event(campaign, "u", "conversion")).send().await.unwrap();
        assert_eq!(checked(response).await.0, 202);
    }
    let bad = post("/ad-events", &impression(campaign, "u")).bearer_auth("nonsense").send().await.unwrap();
    assert_eq!(checked(bad).await.0, 401, "a token that is there is checked");
    let device = json!({"device_id": "d", "payload": {}});
    assert_eq!(checked(post("/events", &device).send().await.unwrap()).await.0, 401);
    let managed = post("/campaigns", &json!({})).send().await.unwrap();
    assert_eq!(checked(managed).await.0, 401, "that is the role advertiser");
    let records = records_of(&ads.app, &ads.app.scope.ads_topic, 2).await;
    let (envelope, _) = decode(&records[0], &AdStream::SPEC).unwrap();
    assert_eq!(envelope.user_id, None, "it belongs to nobody");
}
