//! Ad events through a worker: what is billed, what is not and why, and when the money of leases is free again.

use std::collections::BTreeSet;

use shared::ads::queries::{audit, note_incarnation, unproven};
use shared::kafka::ids::EventId;
use worker_service::consumer::offset_fence::FenceState;

use crate::prelude::*;

/// The sample of a metric without a group, which other tests in this process may raise, too.
fn counted(series: &str) -> f64 {
    sample(&metrics().render(), series).unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_billed_from_its_lease_once() {
    let ads = Ads::new("ads_billed", 2).await;
    assert_eq!(ads.campaign(&[]).await, 1);
    ads.lease("l1", 1, DAY, 5, 0.0).await;
    let worker = ads.worker_of(&["ads"]);
    let first = ad("e1").lease("l1");
    ads.put_ad(&first).await;
    ads.put_ad(&ad("e2").lease("l1").click().free()).await;
    ads.until_ad("e2", "counted").await;
    assert_eq!(ads.money(1).await, (1, 4));

    // The same record again, as after a lost acknowledgement, and the same event in a record that another lease pays.
    ads.lease("l2", 1, DAY, 2, 0.0).await;
    ads.put_ad(&first).await;
    ads.put_ad(&ad("e1").lease("l2")).await;
    ads.put_ad(&ad("e3").lease("l2")).await;
    ads.until_ad("e3", "counted").await;
    assert_eq!(ads.money(1).await, (2, 5));
    let stats = "SELECT sum(impressions)::bigint * 10 + sum(clicks)::bigint FROM ad_stats";
    assert_eq!(ads.count(stats).await, 21);
    assert_eq!(audit(&ads.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);

    // The group is rewound: all events come again.
    worker.stop().await.unwrap();
    let version = ads.count("SELECT report_version FROM campaigns").await;
    ads.commit_all(0).await;
    let worker = ads.worker_of(&["ads"]);
    ads.put_ad(&ad("e4").user("v").lease("l2")).await;
    ads.until_ad("e4", "counted").await;
    let fences = ads.fences();
    until("all is read again", async || {
        let now = fences.offsets().await.unwrap();
        now.fence().state(&now) == FenceState::Passed
    })
    .await;
    assert_eq!(ads.money(1).await, (3, 4));
    assert_eq!(ads.count("SELECT report_version FROM campaigns").await, version + 1);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_closed_lease_needs_room_and_a_later_copy_raises_it() {
    let ads = Ads::new("ads_closed", 1).await;
    ads.campaign(&[("total_budget", "30000000")]).await;
    // All but one cent is in an open lease.
    ads.lease("open", 1, DAY, 2, 0.0).await;
    let before = counted(r#"ads_void_total{reason="no_room"}"#);
    let worker = ads.worker_of(&["ads"]);
    for id in ["e1", "e2"] {
        ads.put_ad(&ad(id).lease("closed")).await;
    }
    ads.until_ad("e1", "counted").await;
    ads.until_ad("e2", "no_room").await;
    assert_eq!(ads.money(1).await, (1, 2), "the money of the open lease stays its own");
    until("it is counted", async || counted(r#"ads_void_total{reason="no_room"}"#) >= before + 1.0).await;

    ads.put_ad(&ad("e2").lease("open").after(1)).await;
    ads.until_ad("e2", "counted").await;
    assert_eq!(ads.money(1).await, (2, 1));
    let cost = format!("SELECT count(*) FROM ad_events WHERE event_id = 'e2' AND cost = {CENT} AND reason IS NULL");
    assert_eq!(ads.count(sqlx::AssertSqlSafe(cost)).await, 1);
    assert_eq!(ads.count("SELECT void FROM campaigns").await, 0);
    assert_eq!(audit(&ads.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_cap_is_void() {
    let ads = Ads::new("ads_cap", 1).await;
    ads.campaign(&[("cap", "2")]).await;
    ads.lease("l", 1, DAY, 10, 0.0).await;
    let worker = ads.worker_of(&["ads"]);
    for id in ["e1", "e2", "e3"] {
        ads.put_ad(&ad(id).lease("l")).await;
    }
    let mut tomorrow = ad("e4");
    tomorrow.event.day = DAY.next_day().unwrap();
    ads.put_ad(&tomorrow).await;
    ads.put_ad(&ad("e5").user("v").lease("l")).await;
    ads.put_ad(&ad("e6").lease("l").click()).await;
    ads.until_ad("e6", "counted").await;
    ads.until_ad("e5", "counted").await;
    ads.until_ad("e4", "counted").await;
    ads.until_ad("e3", "capped").await;
    // The void event has used its part of the lease: that money is free again.
    assert_eq!(ads.money(1).await, (5, 5));
    assert_eq!(ads.count("SELECT settled / 10000000 FROM ad_leases").await, 5);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_refuses_its_events_with_a_reason() {
    let ads = Ads::new("ads_rules", 1).await;
    ads.campaign(&[
        ("click_requires_impression", "true"),
        ("duplicate_click_window", "10"),
        ("conversion_window", "60"),
        ("blocked_user_agents", "'{crawler}'"),
    ])
    .await;
    assert_eq!(ads.campaign(&[("user_events_per_minute", "2")]).await, 2);
    let reasons = ["no_impression", "duplicate_click", "late_conversion", "user_rate", "user_agent"];
    let count = || reasons.map(|reason| counted(&format!(r#"ads_invalid_total{{reason="{reason}"}}"#)));
    let before = count();
    let worker = ads.worker_of(&["ads"]);
    for (event, expected) in [
        (ad("c1").click(), "no_impression"),
        (ad("i1").after(1).agent("A Crawler/2"), "user_agent"),
        (ad("c2").click().after(2), "no_impression"),
        (ad("i2").after(3).agent("Mozilla/5.0"), "counted"),
        (ad("c3").click().after(4), "counted"),
        (ad("c4").click().after(13), "duplicate_click"),
        (ad("c5").click().after(14), "counted"),
        (ad("v1").conversion().after(73), "counted"),
        (ad("v2").conversion().after(74), "late_conversion"),
        (ad("v3").user("stranger").conversion().after(75), "late_conversion"),
        (ad("r1").campaign(2), "counted"),
        (ad("r2").campaign(2).after(30), "counted"),
        (ad("r3").campaign(2).after(59), "user_rate"),
        (ad("r4").campaign(2).user("v").after(59), "counted"),
        (ad("r5").campaign(2).after(60), "counted"),
    ] {
        ads.put_ad(&event).await;
        ads.until_ad(&event.id, expected).await;
    }
    until("they are counted", async || count().iter().zip(before).all(|(now, before)| *now >= before + 1.0)).await;
    let invalid: Vec<(String, i64)> =
        sqlx::query_as("SELECT reason, events FROM ad_invalid WHERE campaign_id = 1 ORDER BY reason")
            .fetch_all(&ads.pool)
            .await
            .unwrap();
    let expected = [("duplicate_click", 1), ("late_conversion", 2), ("no_impression", 2), ("user_agent", 1)];
    assert_eq!(invalid, expected.map(|(reason, events)| (reason.to_owned(), events)));
    assert_eq!(ads.money(1).await, (4, 0), "what is invalid costs nothing");
    let log = own_log();
    let line = told(&log, "Processed message").into_iter().find(|line| line["event_id"] == "v3").unwrap();
    let seen = ["campaign_user", "outcome", "reason"].map(|field| line[field].as_str().unwrap().to_owned());
    assert_eq!(seen, ["1:stranger", "invalid", "late_conversion"]);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_dead_instance_is_closed_only_behind_its_last_event() {
    let ads = Ads::new("ads_settle", 2).await;
    ads.campaign(&[]).await;
    // Two have ended, one of them too lately for its last record to be surely in the topic.
    ads.lease("dead", 1, DAY, 5, 60.0).await;
    ads.lease("late", 1, DAY, 3, 2.0).await;
    ads.lease("open", 1, DAY, 1, -60.0).await;
    ads.refuse_ad("e2", "P0001").await;
    ads.put_ad(&ad("e1").user("v").lease("dead")).await;
    ads.put_ad(&ad("e2").lease("dead")).await;
    let settles = ads.worker_of(&["ads-settle"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ads.money(1).await, (0, 9), "nobody has applied its events");

    let applies = ads.worker_of(&["ads"]);
    ads.until_ad("e1", "counted").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ads.money(1).await, (1, 8), "an event is still held back");
    ads.refuse_no_ad().await;
    ads.until_ad("e2", "counted").await;
    // Three cents of the first one come back, and later those of the second one.
    ads.until_money(1, (2, 1)).await;
    let open: Vec<String> = sqlx::query_scalar("SELECT id FROM ad_leases").fetch_all(&ads.pool).await.unwrap();
    assert_eq!(open, ["open"]);
    assert_eq!(audit(&ads.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
    until("it is shown", async || counted("ads_open_leases") == 1.0 && counted("ads_oldest_lease_seconds") == 0.0)
        .await;
    assert!(counted("ads_leases_closed_total") >= 2.0);
    assert_eq!(counted("ads_budget_violations"), 0.0);
    assert!(sample(&metrics().render(), "ads_audit_age_seconds").is_some());
    applies.stop().await.unwrap();
    settles.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_is_proven_only_when_all_earlier_events_are_applied() {
    let ads = Ads::new("ads_proven", 1).await;
    ads.campaign(&[]).await;
    let first = note_incarnation(&ads.store, "run-1", None).await.unwrap();
    ads.sql("UPDATE redis_incarnations SET seen_at = seen_at - interval '9 s'").await;
    ads.put_ad(&ad("e1")).await;
    let worker = ads.worker_of(&["ads-settle"]);
    let waiting = async || unproven(&ads.store, Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(waiting().await, [first.serial]);
    let applies = ads.worker_of(&["ads"]);
    until("it is proven", async || waiting().await.is_empty()).await;
    assert!(note_incarnation(&ads.store, "run-1", None).await.unwrap().is_proven);
    let second = note_incarnation(&ads.store, "run-2", None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(waiting().await, [second.serial], "it was met just now: events may be on their way");
    applies.stop().await.unwrap();
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_an_ad_event_is_billed_when_it_is_sent_back() {
    let ads = Ads::new("ads_letters", 1).await;
    ads.campaign(&[]).await;
    ads.lease("l", 1, DAY, 5, 60.0).await;
    ads.refuse_ad("e1", "22023").await;
    let worker = ads.worker();
    ads.put_ad(&ad("e1").lease("l")).await;
    // It is no event: there is nothing to bill.
    let headers =
        [("ce_specversion", "1.0"), ("ce_type", "io.edge.ad.click.v1"), ("ce_id", "e2"), ("ce_subject", "1:u")];
    ads.put(Some(b"1:u"), Some(b"{}"), &headers.map(|(name, value)| (name, Some(value.as_bytes())))).await;
    // PostgreSQL may have been restored to a time before this campaign.
    ads.put_ad(&ad("e3").campaign(7)).await;
    let letters = ads.dead_letters(3).await;
    let reasons: BTreeSet<_> = letters
        .iter()
        .map(|letter| (header(letter, "ce_id").unwrap(), header(letter, "dlq.reason").unwrap()))
        .collect();
    let expected =
        [("e1", "rejected"), ("e2", "undecodable"), ("e3", "failed")].map(|(id, why)| (id.to_owned(), why.to_owned()));
    assert_eq!(reasons, BTreeSet::from(expected));
    // The group has passed them, so the lease is closed, although its event may come back.
    ads.until_money(1, (0, 0)).await;

    ads.refuse_no_ad().await;
    let listed = ads.succeeds(&["dlq", "list", "--handler=ads"]).await;
    assert!(listed.contains("1:u") && listed.contains("e1"), "{listed}");
    ads.succeeds(&["dlq", "redrive", "--handler=ads", "--reason=rejected"]).await;
    ads.until_ad("e1", "counted").await;
    assert_eq!(ads.money(1).await, (1, 0));
    let listed = ads.succeeds(&["dlq", "list", "--handler=ads", "--json"]).await;
    let outcome = |id: &str| {
        let of = json_lines(&listed).find(|line| line["event_id"] == id);
        of.unwrap_or_else(|| panic!("{id}: {listed}"))["outcome"].clone()
    };
    assert_eq!(["e1", "e2", "e3"].map(outcome), [json!("counted"), Value::Null, Value::Null]);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_is_gone_and_its_records_do_not_bring_it_back() {
    let ads = Ads::new("ads_erase", 1).await;
    ads.campaign(&[("cap", "5")]).await;
    let worker = ads.worker();
    let id = || EventId::generate().to_string();
    for user in ["alice", "alice", "bob"] {
        ads.put_ad(&ad(&id()).user(user)).await;
    }
    ads.until_money(1, (3, 0)).await;
    // As the API counts their impressions.
    let mut redis = ads.redis().await;
    let set = |user: &str| format!("{}ad:cap:1:{user}:{DAY}", ads.scope.cache_prefix);
    for user in ["alice", "bob"] {
        let () = redis.hset(set(user), "an-event", "").await.unwrap();
    }
    // One that is accepted, and not applied yet.
    ads.sql(
        "INSERT INTO unsure_impressions (campaign_id, event_id)
         SELECT campaign_id, event_id FROM ad_events UNION ALL SELECT 1, 'not-applied'",
    )
    .await;
    let today = OffsetDateTime::now_utc().date();
    let accepted = |user: &str| format!("{}ad:cap:1:{user}:{today}", ads.scope.cache_prefix);
    for user in ["alice", "bob"] {
        let () = redis.hset(accepted(user), "an-event", "").await.unwrap();
    }
    let away = nobody();
    let why = ads.fails(&["erase-user", "alice", &format!("--ad-redis-url=redis://{away}")]).await;
    assert!(why.contains("nothing was erased: the Redis of the caps does not answer"), "{why}");
    assert_eq!(ads.count("SELECT count(*) FROM ad_events").await, 3);
    let version = ads.count("SELECT report_version FROM campaigns").await;
    // An instance of the API that read the rows before they were deleted fills a set with them.
    let filled = async {
        until("its set is deleted", async || {
            let is_there: bool = redis.clone().exists(set("alice")).await.unwrap();
            !is_there
        })
        .await;
        let () = redis.clone().hset(set("alice"), "an-event", "").await.unwrap();
    };
    let (said, ()) = tokio::join!(ads.succeeds(&["erase-user", "alice"]), filled);
    assert_eq!(ads.count("SELECT report_version FROM campaigns").await, version + 1, "its report has a new version");
    assert!(said.starts_with("erased alice: 2 events in 1 days of campaigns"), "{said}");
    let counted: [bool; 2] = [redis.exists(set("alice")).await.unwrap(), redis.exists(set("bob")).await.unwrap()];
    assert_eq!(counted, [false, true]);
    let waits: [bool; 2] =
        [redis.exists(accepted("alice")).await.unwrap(), redis.exists(accepted("bob")).await.unwrap()];
    assert_eq!(waits, [false, true]);
    let of_alice = "SELECT (SELECT count(*) FROM ad_events WHERE user_id = 'alice')
        + (SELECT count(*) FROM ad_user_days WHERE user_id = 'alice')";
    assert_eq!(ads.count(of_alice).await, 0);
    let noted = "SELECT count(*) FROM unsure_impressions WHERE event_id = 'not-applied'
        OR event_id IN (SELECT event_id FROM ad_events WHERE user_id = 'bob')";
    assert_eq!((ads.count(noted).await, ads.count("SELECT count(*) FROM unsure_impressions").await), (2, 2));
    assert_eq!(ads.money(1).await, (3, 0), "what was spent stays spent");
    assert_eq!(ads.count("SELECT impressions FROM campaigns").await, 3);
    assert_eq!(ads.count("SELECT booked_out / 10000000 FROM campaigns").await, 2);
    assert_eq!(audit(&ads.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);

    // All records once more, and a new event.
    worker.stop().await.unwrap();
    ads.commit(0).await;
    let worker = ads.worker();
    let mut new = ad("new").user("alice");
    new.at = OffsetDateTime::now_utc() + time::Duration::seconds(5);
    ads.put_ad(&new).await;
    ads.until_ad("new", "counted").await;
    assert_eq!(ads.count("SELECT count(*) FROM ad_events WHERE user_id = 'alice'").await, 1);
    assert_eq!(ads.money(1).await, (4, 0));
    worker.stop().await.unwrap();
}

/// Otherwise it would say that the ids are gone, and they would stay in the Redis that has them.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_with_another_redis_than_the_apis_is_refused() {
    let ads = Ads::new("ads_erase_elsewhere", 1).await;
    let note = async |id: &str| {
        let noted = sqlx::query("INSERT INTO redis_incarnations (id) VALUES ($1)").bind(id);
        noted.execute(&ads.pool).await.unwrap();
    };
    note("another:term:0:mark").await;
    let why = ads.fails(&["erase-user", "alice"]).await;
    assert!(why.contains("nothing was erased") && why.contains("AD_REDIS_URL"), "{why}");
    assert_eq!(ads.count("SELECT count(*) FROM ad_forgotten_users").await, 0);
    let mut redis = ads.redis().await;
    let info: String = redis::cmd("INFO").query_async(&mut redis).await.unwrap();
    let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    note(&format!("{}:{}:7:mark 2", told("run_id:"), told("master_replid:"))).await;
    let said = ads.succeeds(&["erase-user", "alice"]).await;
    assert!(said.starts_with("erased alice: 0 events"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_deleted_after_their_retention_and_sums_stay() {
    let ads = Ads::new("ads_expire", 1).await;
    ads.campaign(&[]).await;
    let worker = ads.worker_of(&["ads"]);
    for id in ["e1", "e2", "e3"] {
        ads.put_ad(&ad(id)).await;
    }
    ads.until_money(1, (3, 0)).await;
    worker.stop().await.unwrap();
    ads.sql("UPDATE ad_events SET recorded_at = now() - interval '2 h' WHERE event_id <> 'e3'").await;
    // More than a piece.
    ads.sql(
        "INSERT INTO unsure_impressions (campaign_id, event_id, taken_at)
         SELECT 1, 'u' || n, now() - interval '4 days' FROM generate_series(1, 12000) AS n
         UNION ALL SELECT 1, 'recent', now()",
    )
    .await;
    let expires = ads.process_with(&[("WORKER_ONLY", "ads-expire"), ("ADS_EVENTS_RETENTION", "1h")]).await;
    ads.until("SELECT count(*) FROM ad_events", 1).await;
    until("it is counted", async || expires.sample("ads_events_pruned_total").await == Some(2.0)).await;
    ads.until("SELECT count(*) FROM unsure_impressions", 1).await;
    for rows in ["events", "unsure"] {
        let behind = expires.sample(&format!("ads_expiry_behind_seconds{{rows=\"{rows}\"}}")).await;
        assert!(behind.is_some_and(|behind| behind < 60.0), "{rows}: {behind:?}");
    }
    assert_eq!(ads.money(1).await, (3, 0));
    assert_eq!(ads.count("SELECT booked_out / 10000000 FROM campaigns").await, 2);
    assert_eq!(audit(&ads.store, 0, 10_000).await.unwrap().broken, [0_i64; 0]);
    expires.end().await;
}
