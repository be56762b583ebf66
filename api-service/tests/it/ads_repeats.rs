//! Repeats of events that were accepted: on another day, and against campaigns that take no more.

use std::cell::Cell;

use devstack::{Proxy, Redis};
use time::OffsetDateTime;

use crate::ads_kit::{Ads, impression, named};
use crate::prelude::*;

const HOUR: i64 = 3_600;

/// A campaign with a cap of two, at whose place it is some time of a day.
struct Midnight {
    ads: Ads,
    campaign: i64,
    /// How far its clock is behind UTC, in seconds.
    behind: Cell<i64>,
    /// The events that Kafka has.
    sent: Cell<usize>,
}

impl Midnight {
    /// An hour before midnight. All incarnations of Redis are older than the day before.
    async fn start(name: &str) -> Self {
        let ads = Ads::start(name).await;
        let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
        ads.sql("UPDATE redis_incarnations SET seen_at = now() - interval '9 days'").await;
        let of_day = OffsetDateTime::now_utc().unix_timestamp().rem_euclid(24 * HOUR);
        let midnight = Self { ads, campaign, behind: Cell::new(of_day + HOUR), sent: Cell::new(0) };
        midnight.forward(0).await;
        midnight
    }

    /// Moves its clock, and returns its day.
    async fn forward(&self, seconds: i64) -> String {
        self.behind.set(self.behind.get() - seconds);
        let behind = self.behind.get().abs();
        let sign = if self.behind.get() < 0 { "-" } else { "" };
        let zone = format!("<M>{sign}{}:{:02}:{:02}", behind / HOUR, behind / 60 % 60, behind % 60);
        let moved = sqlx::query(
            "UPDATE campaigns SET timezone = $2, revision = revision + 1, created_at = now() - interval '9 days'
             WHERE id = $1",
        );
        moved.bind(self.campaign).bind(&zone).execute(&self.ads.pool).await.unwrap();
        let day: String = sqlx::query_scalar("SELECT (now() AT TIME ZONE $1)::date::text")
            .bind(zone)
            .fetch_one(&self.ads.pool)
            .await
            .unwrap();
        let next = Cell::new(0);
        let moved = async || {
            let user = format!("probe-{seconds}-{}", next.replace(next.get() + 1));
            let answer = self.ads.send(&impression(self.campaign, &user)).await;
            let body: Value = serde_json::from_slice(&checked(answer).await.2).unwrap();
            self.sent.set(self.sent.get() + usize::from(body["status"] == "accepted"));
            if body["day"] == day.as_str() { Ok(()) } else { Err(body) }
        };
        found("its day", moved).await;
        day
    }

    fn event(&self, user: &str, id: &str) -> Value {
        named(impression(self.campaign, user), id)
    }

    /// Sends a new event, which belongs to this day.
    async fn sends_new(&self, user: &str, id: &str, day: &str) {
        assert_eq!(self.ads.accepted(&self.event(user, id)).await["day"], day, "{id}");
        self.sent.set(self.sent.get() + 1);
    }

    /// Sends an event again, which belongs to this day.
    async fn again(&self, user: &str, id: &str, day: &str) {
        let answer = self.ads.accepted(&self.event(user, id)).await;
        assert_eq!((&answer["day"], &answer["cost"]), (&json!(day), &json!("0.01")), "{id}");
    }

    async fn capped(&self, user: &str, id: &str) {
        self.ads.refused(&self.event(user, id), 429, "frequency_capped").await;
    }

    async fn work(&self) {
        self.ads.work(self.sent.get()).await;
    }
}

#[tokio::test]
async fn a_repeat_after_midnight_counts_on_its_own_day_alone() {
    let midnight = Midnight::start("ads_midnight").await;
    let first = midnight.forward(0).await;
    for (user, id) in [("a", "a1"), ("b", "b1"), ("c", "c1"), ("d", "d1")] {
        midnight.sends_new(user, id, &first).await;
    }
    midnight.work().await;
    midnight.sends_new("e", "e1", &first).await;
    let second = midnight.forward(HOUR + 5).await;
    assert_ne!(first, second);

    for _ in 0..2 {
        midnight.again("a", "a1", &first).await;
    }
    midnight.sends_new("a", "a2", &second).await;
    midnight.sends_new("a", "a3", &second).await;
    midnight.capped("a", "a4").await;
    midnight.again("a", "a1", &first).await;

    // The cap is reached before the repeat comes.
    midnight.sends_new("b", "b2", &second).await;
    midnight.sends_new("b", "b3", &second).await;
    midnight.again("b", "b1", &first).await;
    midnight.capped("b", "b4").await;

    // It was accepted, and is not applied yet.
    let (_, later) = midnight.ads.refused(&midnight.event("e", "e1"), 503, "admission_unavailable").await;
    assert_eq!(later, Some(1));
    midnight.work().await;
    midnight.again("e", "e1", &first).await;

    // Two hours later it is looked for only before a refusal.
    assert_eq!(midnight.forward(2 * HOUR).await, second);
    let left = async || midnight.ads.refused(&midnight.event("a", "a4"), 429, "frequency_capped").await.1.unwrap();
    until("its time", async || left().await < 23 * HOUR.unsigned_abs()).await;
    midnight.sends_new("c", "c2", &second).await;
    midnight.sends_new("c", "c3", &second).await;
    midnight.again("c", "c1", &first).await;
    midnight.capped("c", "c4").await;
    assert_eq!(midnight.ads.accepted(&midnight.event("d", "d1")).await["day"], second.as_str());
    midnight.sent.set(midnight.sent.get() + 1);
    midnight.work().await;
    let most =
        midnight.ads.number("SELECT max(count) FROM (SELECT count(*) FROM ad_events GROUP BY user_id, day) AS u");
    assert_eq!(most.await, 2);
    assert_eq!(midnight.ads.number("SELECT count(*) FROM ad_events WHERE outcome <> 'counted'").await, 0);
}

/// The worker is two minutes behind.
#[tokio::test]
async fn a_repeat_that_is_not_applied_in_time_is_not_refused_by_the_new_days_cap() {
    let midnight = Midnight::start("ads_midnight_late").await;
    let first = midnight.forward(0).await;
    midnight.sends_new("a", "a1", &first).await;
    let second = midnight.forward(HOUR + 120).await;
    midnight.sends_new("a", "a2", &second).await;
    midnight.sends_new("a", "a3", &second).await;
    for _ in 0..2 {
        midnight.ads.refused(&midnight.event("a", "a1"), 503, "admission_unavailable").await;
        midnight.capped("a", "a4").await;
    }
    midnight.work().await;
    midnight.again("a", "a1", &first).await;
}

#[tokio::test]
async fn a_void_event_of_the_day_before_is_tried_again_on_this_day() {
    let midnight = Midnight::start("ads_midnight_void").await;
    let first = midnight.forward(0).await;
    midnight.sends_new("a", "a1", &first).await;
    midnight.work().await;
    midnight.ads.sql("UPDATE ad_events SET outcome = 'void', reason = 'no_room', cost = 0").await;
    let second = midnight.forward(HOUR + 5).await;
    midnight.sends_new("a", "a1", &second).await;
}

#[tokio::test]
async fn what_redis_has_forgotten_of_the_day_before_postgresql_knows() {
    let midnight = Midnight::start("ads_midnight_forgotten").await;
    let first = midnight.forward(0).await;
    for (user, id) in [("a", "a1"), ("b", "b1")] {
        midnight.sends_new(user, id, &first).await;
    }
    midnight.work().await;
    let second = midnight.forward(HOUR + 5).await;
    // It is younger than the days, of which PostgreSQL has everything.
    midnight.ads.sql("UPDATE redis_incarnations SET seen_at = now() - interval '5 s', proven_at = now()").await;
    let mut redis = crate::app::redis_at(&midnight.ads.app.scope.endpoints.redis_url).await;
    let keys = format!("{}ad:cap:*", midnight.ads.app.scope.cache_prefix);
    let keys: Vec<String> = redis::cmd("KEYS").arg(keys).query_async(&mut redis).await.unwrap();
    let keys: Vec<_> = keys.into_iter().filter(|key| key.ends_with(&first)).collect();
    assert!(!keys.is_empty());
    let () = redis::cmd("DEL").arg(keys).query_async(&mut redis).await.unwrap();
    let noted = async || {
        let answer = checked(midnight.ads.send(&midnight.event("b", "b1")).await).await.2;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        if answer["day"] == first.as_str() { Ok(()) } else { Err(answer) }
    };
    found("it is noted anew", noted).await;
    midnight.again("a", "a1", &first).await;
    midnight.sends_new("a", "a2", &second).await;
    midnight.sends_new("a", "a3", &second).await;
    midnight.capped("a", "a4").await;
}

#[tokio::test]
async fn a_repeat_that_nobody_looked_up_gets_no_final_answer() {
    let ads = Ads::start("ads_many_repeats").await;
    let campaign = ads.campaign(json!({"total_budget": "2"})).await;
    let all: Vec<_> = (0..200).map(|n| named(impression(campaign, "u"), &n.to_string())).collect();
    let left = Cell::new(all.clone());
    // Leases grow while they are used.
    let send = async || {
        let events = left.take();
        let response = ads.post("/ad-events/batch", &json!(events)).send().await.unwrap();
        let retry_after = response.headers().get("retry-after").map(|seconds| seconds.to_str().unwrap().to_owned());
        let retry_after: Option<u64> = retry_after.map(|seconds| seconds.parse().unwrap());
        let (status, _, body) = checked(response).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let items = match body["items"].as_array() {
            Some(items) => items.clone(),
            None if status == 202 => return Vec::new(),
            // All of them have this answer.
            None => vec![json!({"status": status, "code": body["code"], "retry_after": retry_after}); events.len()],
        };
        let refused = events.into_iter().zip(items).filter(|(_, item)| item["status"] != 202);
        let (refused, items): (Vec<_>, Vec<_>) = refused.unzip();
        left.set(refused);
        items
    };
    until("all are accepted", async || send().await.is_empty()).await;
    ads.work(200).await;
    ads.refused(&impression(campaign, "u"), 409, "budget_exhausted").await;

    // More than are looked up in a second come first, and are no repeats.
    let new = (0..150).map(|n| named(impression(campaign, "u"), &format!("new-{n}")));
    left.set(new.chain(all).collect());
    let (tries, finally) = (Cell::new(0), Cell::new(0));
    until("all are known", async || {
        tries.set(tries.get() + 1);
        let items = send().await;
        let mut again = left.take();
        let mut items = items.iter();
        again.retain(|_| {
            let item = items.next().unwrap();
            assert_eq!((&item["status"], &item["code"]), (&json!(409), &json!("budget_exhausted")));
            let is_final = item["retry_after"].is_null();
            assert!(is_final || item["retry_after"] == 1, "{item}");
            finally.set(finally.get() + usize::from(is_final));
            !is_final
        });
        let is_done = again.is_empty();
        left.set(again);
        is_done
    })
    .await;
    assert!(tries.get() > 1, "a hundred in a second are looked up");
    assert_eq!(finally.get(), 150, "the new ones, and no other");
    let new = async || ads.refused(&named(impression(campaign, "u"), "new"), 409, "budget_exhausted").await.1;
    until("it was looked up, and is none", async || new().await.is_none()).await;
}

#[tokio::test]
async fn a_repeat_is_accepted_although_its_campaign_is_paused() {
    let ads = Ads::start("ads_repeats_paused").await;
    let campaign = ads.campaign(json!({})).await;
    let repeat = named(impression(campaign, "u"), "a");
    let first = ads.accepted(&repeat).await;
    ads.work(1).await;
    let pause = ads.post(&format!("/campaigns/{campaign}/pause"), &Value::Null).send().await.unwrap();
    assert_eq!(pause.status(), 200);
    until("it takes no more", async || ads.status(&impression(campaign, "u")).await == 409).await;
    let again = ads.accepted(&repeat).await;
    assert_eq!((&again["ts"], &again["cost"]), (&first["ts"], &json!("0.01")), "when it was accepted");
    for other in [named(impression(campaign, "u"), "b"), named(impression(campaign, "v"), "a")] {
        assert_eq!(ads.refused(&other, 409, "campaign_not_active").await.1, None);
    }
}

/// What an instance takes while it cannot reach Redis is in no set, and others may get its repeats.
#[tokio::test]
async fn what_was_taken_while_nobody_could_tell_is_not_refused_later() {
    let redis = blocking(|| Redis::start(&[]).unwrap()).await;
    let (proxy, url) = Proxy::before(&redis.url()).unwrap();
    let ads = Ads::with("ads_unsure_repeats", &[&format!("--ad-redis-url={url}"), "--redis-timeout=200ms"]).await;
    let direct = format!("--ad-redis-url={}", redis.url());
    let other = Ads::of(TestApp::prepared(ads.app.scope.clone(), &[&direct]).await).await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 1, "cap_unsure": "allow"})).await;
    let event = |id: &str| named(impression(campaign, "u"), id);
    until("its incarnation is known", async || other.status(&event("a")).await == 202).await;
    other.refused(&event("new"), 429, "frequency_capped").await;

    proxy.cut();
    ads.accepted(&event("b")).await;
    // It is not applied, and nothing was ever unsure here.
    other.accepted(&event("b")).await;
    other.refused(&event("new"), 429, "frequency_capped").await;
    proxy.mend();
    let capped = async || ads.status(&impression(campaign, "u")).await == 429;
    until("Redis answers again", capped).await;
    ads.accepted(&event("b")).await;
    ads.refused(&event("new"), 429, "frequency_capped").await;

    ads.work(4).await;
    for instance in [&ads, &other] {
        instance.accepted(&event("b")).await;
        instance.refused(&event("new"), 429, "frequency_capped").await;
    }
}

#[tokio::test]
async fn nothing_is_taken_unsure_that_cannot_be_noted() {
    let none = nowhere("--ad-redis-url=redis://127.0.0.1:PORT");
    let ads = Ads::without_caps(TestApp::with("ads_unsure_unnoted", &[&none, "--redis-timeout=200ms"]).await).await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 1, "cap_unsure": "allow"})).await;
    ads.accepted(&named(impression(campaign, "u"), "a")).await;
    ads.sql("ALTER TABLE unsure_impressions RENAME TO hidden").await;
    ads.refused(&named(impression(campaign, "u"), "b"), 503, "admission_unavailable").await;
    ads.accepted(&impression(campaign, "u")).await;
    ads.sql("ALTER TABLE hidden RENAME TO unsure_impressions").await;
    ads.accepted(&named(impression(campaign, "u"), "b")).await;
}
