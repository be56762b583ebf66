//! Admission under faults: what was not sent costs nothing, and what nobody can tell is not guessed.

use devstack::Redis;
use devstack::kit::midnight_twice;
use shared::ads::queries;
use shared::kafka::TopicConfig;
use shared::kafka::topics::setup::{self, TopicShape};
use time::OffsetDateTime;

use crate::ads_kit::{Ads, event, flush, impression, named};
use crate::app::{prepare, redis_at};
use crate::prelude::*;

/// With a Redis of its own for the caps.
async fn with_own_redis(name: &str) -> (Ads, Redis) {
    let redis = blocking(|| Redis::start(&[]).unwrap()).await;
    let ads = Ads::with(name, &[&format!("--ad-redis-url={}", redis.url())]).await;
    (ads, redis)
}

#[tokio::test]
async fn two_instances_share_a_budget_exactly() {
    let ads = Ads::start("ads_two").await;
    let campaign = ads.campaign(json!({"total_budget": "2"})).await;
    let second = Ads::of(TestApp::prepared(ads.app.scope.clone(), &[]).await).await;
    let send = async |n: usize| {
        let ads = if n.is_multiple_of(2) { &ads } else { &second };
        let event = named(impression(campaign, &format!("u{}", n % 7)), &n.to_string());
        // The other instance may hold the last units for a while.
        for _ in 0..60 {
            let response = ads.send(&event).await;
            match response.status().as_u16() {
                202 => return true,
                409 => {
                    let is_spent = !response.headers().contains_key("retry-after");
                    if is_spent || problem(response).await["code"] != "budget_exhausted" {
                        return false;
                    }
                    sleep(Duration::from_millis(250)).await;
                }
                // A busy machine: nothing was taken, or it may have been, and the id counts once.
                503 => sleep(Duration::from_millis(250)).await,
                other => panic!("{other}"),
            }
        }
        false
    };
    let accepted = join_all((0..300).map(send)).await;
    assert_eq!(accepted.iter().filter(|accepted| **accepted).count(), 200);
    ads.work(200).await;
    assert_eq!(ads.number("SELECT spent FROM campaigns").await, 2_000_000_000);
    assert_eq!(ads.number("SELECT reserved FROM campaigns").await, 0);
    assert_eq!(queries::audit(&ads.app.store(), 0, 10_000).await.unwrap().broken, [0_i64; 0]);
}

#[tokio::test]
async fn what_kafka_did_not_take_costs_nothing_and_does_not_count() {
    let scope = scope("ads_no_topic").await;
    prepare(&scope).await;
    let missing = format!("--kafka-ads-topic={}-missing", scope.ads_topic);
    let ads = Ads::of(TestApp::prepared(scope, &[&missing]).await).await;
    let members = json!({"total_budget": "0.01", "freq_cap_impressions_per_day": 1});
    let campaign = ads.campaign(members).await;
    for n in 0..5 {
        let event = named(impression(campaign, "u"), &n.to_string());
        // Before the id is released, another one has no room.
        let refused = async || match problem(ads.send(&event).await).await["code"].as_str() {
            Some("topic_missing") => Ok(()),
            other => Err(other.map(str::to_owned)),
        };
        found("Kafka refuses it", refused).await;
    }
    let topics = TopicConfig {
        input: missing.split_once('=').unwrap().1.to_owned(),
        dlq: format!("{}-other", ads.app.scope.ads_dlq_topic),
    };
    let shape =
        TopicShape { partitions: PARTITIONS, replication: 1, min_insync_replicas: 1, compression: Default::default() };
    let kafka = shared::kafka::client(&ads.app.config.backbone.kafka).unwrap();
    setup::create(&kafka, &topics, &shape).await.unwrap();
    let taken = async || {
        let answer = ads.send(&named(impression(campaign, "u"), "last")).await;
        if answer.status() == 202 { Ok(()) } else { Err(problem(answer).await) }
    };
    found("there is room for one", taken).await;
}

#[tokio::test]
async fn without_postgresql_nothing_is_admitted_for_long() {
    let none = nowhere("--database-url=postgres://127.0.0.1:PORT/none");
    let app = TestApp::with("ads_no_postgres", &[&none]).await;
    let request = app.request("POST", "/ad-events").bearer_auth(admin()).header("content-type", "application/json");
    let begin = Instant::now();
    let response = request.body(impression(1, "u").to_string()).send().await.unwrap();
    is_refused(response, 503, "admission_unavailable", Some("1")).await;
    let took = begin.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn without_redis_only_capped_impressions_are_refused() {
    let none = nowhere("--ad-redis-url=redis://127.0.0.1:PORT");
    let ads = Ads::without_caps(TestApp::with("ads_no_redis", &[&none, "--redis-timeout=200ms"]).await).await;
    let plain = ads.campaign(json!({})).await;
    let capped = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
    let allowing = ads.campaign(json!({"freq_cap_impressions_per_day": 1, "cap_unsure": "allow"})).await;
    for _ in 0..3 {
        ads.accepted(&impression(plain, "u")).await;
        ads.accepted(&impression(allowing, "u")).await;
        ads.accepted(&event(capped, "u", "click")).await;
        let (refused, later) = ads.refused(&impression(capped, "u"), 503, "admission_unavailable").await;
        assert!(refused["event_id"].is_string() && later == Some(1), "{refused}");
    }
    // A click does not overtake the impression that has to come again.
    let pair = json!([impression(capped, "v"), event(capped, "v", "click"), impression(plain, "v")]);
    let response = ads.post("/ad-events/batch", &pair).send().await.unwrap();
    let body: Value = serde_json::from_slice(&checked(response).await.2).unwrap();
    let statuses: Vec<_> = body["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64()).collect();
    assert_eq!(statuses, [503, 503, 202].map(Some));
}

#[tokio::test]
async fn caps_that_redis_has_forgotten_are_filled_once_postgresql_has_all_of_them() {
    let (ads, redis) = with_own_redis("ads_forgotten").await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
    let allowing = ads.campaign(json!({"freq_cap_impressions_per_day": 1, "cap_unsure": "allow"})).await;
    for id in ["a", "b"] {
        ads.accepted(&named(impression(campaign, "u"), id)).await;
    }
    ads.accepted(&impression(allowing, "u")).await;
    ads.refused(&impression(allowing, "u"), 429, "frequency_capped").await;

    flush(&redis.url()).await;
    for user in ["u", "new"] {
        ads.refused(&impression(campaign, user), 503, "admission_unavailable").await;
    }
    ads.accepted(&impression(allowing, "u")).await;
    until("it is noted", async || ads.number("SELECT count(*) FROM redis_incarnations").await == 2).await;
    // Still, because nobody knows what is on its way.
    ads.refused(&impression(campaign, "u"), 503, "admission_unavailable").await;
    ads.work(4).await;
    ads.refused(&impression(campaign, "u"), 503, "admission_unavailable").await;
    ads.sql("UPDATE redis_incarnations SET proven_at = now()").await;
    until("it is proven", async || ads.status(&named(impression(campaign, "u"), "a")).await == 202).await;
    ads.refused(&named(impression(campaign, "u"), "c"), 429, "frequency_capped").await;
    ads.accepted(&named(impression(campaign, "u"), "b")).await;
    ads.accepted(&impression(campaign, "new")).await;

    // A campaign that is younger than the incarnation needs no proof.
    flush(&redis.url()).await;
    until("it is noted", async || ads.number("SELECT count(*) FROM redis_incarnations").await == 3).await;
    let younger = ads.campaign(json!({"freq_cap_impressions_per_day": 1})).await;
    until("it is taken", async || ads.status(&named(impression(younger, "u"), "a")).await == 202).await;
    ads.refused(&impression(younger, "u"), 429, "frequency_capped").await;
    ads.refused(&impression(campaign, "u"), 503, "admission_unavailable").await;
}

/// What Redis forgot after the first midnight, it forgot in this day.
#[tokio::test]
async fn caps_of_a_day_that_begins_twice_are_not_forgotten_in_its_first_hour() {
    let (ads, redis) = with_own_redis("ads_two_midnights").await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
    let midnight = OffsetDateTime::now_utc() - Duration::from_secs(1_800);
    let moved = sqlx::query("UPDATE campaigns SET timezone = $1, created_at = now() - interval '9 days'");
    moved.bind(midnight_twice(midnight)).execute(&ads.pool).await.unwrap();
    ads.sql("UPDATE redis_incarnations SET proven_at = now()").await;
    until("it is proven", async || ads.status(&named(impression(campaign, "u"), "a")).await == 202).await;
    ads.accepted(&named(impression(campaign, "u"), "b")).await;
    ads.refused(&named(impression(campaign, "u"), "c"), 429, "frequency_capped").await;
    flush(&redis.url()).await;
    until("it is noted", async || ads.number("SELECT count(*) FROM redis_incarnations").await == 2).await;
    for id in ["d", "e"] {
        ads.refused(&named(impression(campaign, "u"), id), 503, "admission_unavailable").await;
    }
}

/// It evicted a user's ids; then its counter begins anew, and its incarnation looks like the one before that.
#[tokio::test]
async fn caps_that_redis_evicted_stay_forgotten_when_its_counters_begin_anew() {
    let (ads, redis) = with_own_redis("ads_counters").await;
    let mut direct = redis_at(&redis.url()).await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
    for id in ["a", "b"] {
        ads.accepted(&named(impression(campaign, "u"), id)).await;
    }
    let mut set = async |name: &str, value: &str| {
        let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query_async(&mut direct).await.unwrap();
    };
    // Of the keys with a TTL, which the caps have.
    set("maxmemory-policy", "volatile-ttl").await;
    set("maxmemory", "1").await;
    set("maxmemory-policy", "noeviction").await;
    set("maxmemory", "0").await;
    let noted = async |count| {
        until("it is noted", async || ads.number("SELECT count(*) FROM redis_incarnations").await == count).await;
    };
    noted(2).await;
    ads.refused(&named(impression(campaign, "u"), "c"), 503, "admission_unavailable").await;
    for serial in [3, 4] {
        for _ in 0..500 {
            let () = redis::cmd("PING").query_async(&mut direct).await.unwrap();
        }
        // It is asked each second.
        sleep(Duration::from_millis(1_500)).await;
        let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut direct).await.unwrap();
        ads.refused(&named(impression(campaign, "u"), "c"), 503, "admission_unavailable").await;
        noted(serial).await;
        ads.refused(&named(impression(campaign, "u"), "c"), 503, "admission_unavailable").await;
    }
}

#[tokio::test]
async fn caps_in_a_redis_that_evicts_rest_on_the_worker() {
    let redis = blocking(|| Redis::start(&["--maxmemory-policy", "allkeys-lru"]).unwrap()).await;
    let ads = Ads::with("ads_evicts", &[&format!("--ad-redis-url={}", redis.url())]).await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 1})).await;
    ads.accepted(&impression(campaign, "u")).await;
    ads.refused(&impression(campaign, "u"), 429, "frequency_capped").await;
    flush(&redis.url()).await;
    ads.accepted(&impression(campaign, "u")).await;
    ads.work(2).await;
    assert_eq!(ads.number("SELECT void FROM campaigns").await, 1);
}

/// Sends fifty events; more is leased than they cost.
async fn send_fifty(ads: &Ads, campaign: i64) {
    join_all((0..50).map(async |n| ads.accepted(&impression(campaign, &n.to_string())).await)).await;
    let reserved = ads.number("SELECT reserved FROM campaigns").await;
    assert!(reserved > 500_000_000, "{reserved}");
}

#[tokio::test]
async fn an_instance_that_ends_gives_back_what_it_did_not_use() {
    let ads = Ads::start("ads_end").await;
    let campaign = ads.campaign(json!({"total_budget": "100"})).await;
    send_fifty(&ads, campaign).await;
    let Ads { mut app, pool, .. } = ads;
    app.stop();
    app.ended().await;
    let reserved: i64 = sqlx::query_scalar("SELECT reserved FROM campaigns").fetch_one(&pool).await.unwrap();
    assert_eq!(reserved, 500_000_000, "what its events cost");
}

#[tokio::test]
async fn an_instance_that_ends_while_it_gives_money_back_still_does() {
    // The return waits for a lock, for as long as it may.
    let ads = Ads::with("ads_end_returning", &["--database-timeout=60s"]).await;
    let campaign = ads.campaign(json!({"total_budget": "100"})).await;
    send_fifty(&ads, campaign).await;
    let mut held = ads.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM ad_leases FOR UPDATE").execute(&mut *held).await.unwrap();
    assert_eq!(ads.post("/campaigns/1/pause", &Value::Null).send().await.unwrap().status(), 200);
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted
        AND datname = current_database()";
    until("its lease is on its way back", async || ads.number(waiting).await > 0).await;
    let Ads { mut app, pool, .. } = ads;
    app.stop();
    let ended = tokio::spawn(app.ended());
    // Its tasks are given up meanwhile.
    sleep(Duration::from_millis(500)).await;
    held.rollback().await.unwrap();
    ended.await.unwrap();
    let reserved: i64 = sqlx::query_scalar("SELECT reserved FROM campaigns").fetch_one(&pool).await.unwrap();
    assert_eq!(reserved, 500_000_000, "what its events cost");
}

#[tokio::test]
async fn a_strict_batch_that_is_refused_costs_nothing_and_does_not_count() {
    let ads = Ads::start("ads_strict").await;
    let members = json!({"total_budget": "0.02", "freq_cap_impressions_per_day": 2});
    let campaign = ads.campaign(members).await;
    let of_user = |id: &str| named(impression(campaign, "u"), id);
    let batch = json!([of_user("1"), of_user("2"), of_user("3")]);
    let refused = ads.post("/ad-events/batch", &batch).header("prefer", "handling=strict").send().await.unwrap();
    assert_eq!(problem(refused).await["code"], "budget_exhausted");
    for id in ["4", "5"] {
        let taken = async || {
            let answer = ads.send(&of_user(id)).await;
            if answer.status() == 202 { Ok(()) } else { Err(problem(answer).await) }
        };
        found("there is room for two", taken).await;
    }
    ads.refused(&of_user("6"), 409, "budget_exhausted").await;
    ads.work(2).await;
    assert_eq!(ads.number("SELECT count(*) FROM ad_events WHERE outcome = 'counted'").await, 2);
}

#[tokio::test]
async fn a_strict_batch_that_names_an_impression_twice_takes_no_place_if_it_is_refused() {
    let ads = Ads::start("ads_strict_twice").await;
    let campaign = ads.campaign(json!({"freq_cap_impressions_per_day": 2})).await;
    let of_user = |id: &str| named(impression(campaign, "u"), id);
    let batch = json!(["1", "1", "2", "3"].map(of_user));
    let refused = ads.post("/ad-events/batch", &batch).header("prefer", "handling=strict").send().await.unwrap();
    assert_eq!(problem(refused).await["code"], "frequency_capped");
    for id in ["4", "5"] {
        let taken = async || {
            let answer = ads.send(&of_user(id)).await;
            if answer.status() == 202 { Ok(()) } else { Err(problem(answer).await) }
        };
        found("there is room for two", taken).await;
    }
    ads.refused(&of_user("6"), 429, "frequency_capped").await;
}
