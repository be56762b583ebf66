//! A campaign that somebody else has locked, or that nobody can read.

use sqlx::{AssertSqlSafe, Postgres, Transaction};

use crate::ads_kit::{Ads, impression};
use crate::prelude::*;

const WAITING: &str = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()";

async fn lock(ads: &Ads, campaign: i64) -> Transaction<'static, Postgres> {
    let mut held = ads.pool.begin().await.unwrap();
    let locking = sqlx::query("SELECT FROM campaigns WHERE id = $1 FOR UPDATE").bind(campaign);
    locking.execute(&mut *held).await.unwrap();
    held
}

#[tokio::test]
async fn a_locked_campaign_stops_no_other() {
    let ads = Ads::start("ads_locked").await;
    let locked = ads.campaign(json!({})).await;
    let others = join_all((0..20).map(|_| ads.campaign(json!({})))).await;
    let held = lock(&ads, locked).await;
    let waits = async {
        for _ in 0..2 {
            ads.refused(&impression(locked, "u"), 503, "admission_unavailable").await;
        }
    };
    let go_on = async {
        until("its lock is waited for", async || ads.number(WAITING).await > 0).await;
        for campaign in &others {
            ads.accepted(&impression(*campaign, "u")).await;
        }
    };
    tokio::join!(waits, go_on);
    held.rollback().await.unwrap();
    ads.accepted(&impression(locked, "u")).await;
}

#[tokio::test]
async fn campaigns_that_cannot_be_read_stop_no_other() {
    let ads = Ads::start("ads_unreadable").await;
    let [unreadable, without_zone] = [ads.campaign(json!({})).await, ads.campaign(json!({})).await];
    let others = join_all((0..20).map(|_| ads.campaign(json!({})))).await;
    ads.sql("ALTER TABLE campaigns DROP CONSTRAINT campaigns_pacing_check").await;
    for (column, value, campaign) in [("pacing", "later", unreadable), ("timezone", "Mars/Base", without_zone)] {
        let statement = format!("UPDATE campaigns SET {column} = $1 WHERE id = $2");
        let update = sqlx::query(AssertSqlSafe(statement)).bind(value).bind(campaign);
        update.execute(&ads.pool).await.unwrap();
    }
    // All in one question. The others have their answers at once.
    let all = [unreadable, without_zone].into_iter().chain(others.iter().copied());
    let events: Vec<_> = all.map(|campaign| impression(campaign, "u")).collect();
    let response = ads.post("/ad-events/batch", &json!(events)).send().await.unwrap();
    let body: Value = serde_json::from_slice(&checked(response).await.2).unwrap();
    let statuses: Vec<_> = body["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64()).collect();
    let expected: Vec<_> = [503; 2].into_iter().chain([202; 20]).map(Some).collect();
    assert_eq!(statuses, expected, "{body}");

    ads.sql("UPDATE campaigns SET pacing = 'asap', timezone = 'UTC'").await;
    for campaign in [unreadable, without_zone] {
        until("it is read again", async || ads.status(&impression(campaign, "u")).await == 202).await;
    }
}

#[tokio::test]
async fn a_campaign_that_is_locked_again_and_again_gets_its_lease() {
    let ads = Ads::start("ads_locked_often").await;
    let campaign = ads.campaign(json!({})).await;
    let held = lock(&ads, campaign).await;
    let impression = impression(campaign, "u");
    let accepted = ads.accepted(&impression);
    // Whenever it is asked without a wait, it is locked.
    let often = async {
        until("its lock is waited for", async || ads.number(WAITING).await > 0).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(accepted, often);
}

#[tokio::test]
async fn what_a_locked_campaign_gets_back_comes_later_and_stops_no_other() {
    let ads = Ads::start("ads_locked_back").await;
    let campaigns = [ads.campaign(json!({})).await, ads.campaign(json!({})).await];
    for campaign in campaigns {
        ads.accepted(&impression(campaign, "u")).await;
    }
    ads.work(2).await;
    let [locked, other] = campaigns;
    let pause = async |campaign: i64| {
        let paused = ads.post(&format!("/campaigns/{campaign}/pause"), &Value::Null).send().await.unwrap();
        assert_eq!(paused.status(), 200);
    };
    pause(locked).await;
    let held = lock(&ads, locked).await;
    pause(other).await;
    let reserved = async |campaign: i64| -> i64 {
        let query = sqlx::query_scalar("SELECT reserved FROM campaigns WHERE id = $1").bind(campaign);
        query.fetch_one(&ads.pool).await.unwrap()
    };
    until("the other one's is back", async || reserved(other).await == 0).await;
    held.rollback().await.unwrap();
    until("it is back", async || reserved(locked).await == 0).await;
}
