//! Campaigns that are placed, and end while they are. No ad events are posted for them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::load::{Client, lock};

/// How long such a campaign runs, in milliseconds; then another one is made.
const RUNS: std::ops::Range<u64> = 4_000..10_000;
const PAUSE: Duration = Duration::from_millis(300);

impl Client {
    /// Makes campaigns, and ends them.
    pub(in crate::load) async fn end_campaigns(self, mut random: fastrand::Rng) {
        for number in 0.. {
            let name = format!("placed-{number}");
            let Some(campaign) = self.until_answered(|| self.make_campaign(&name)).await else { return };
            lock(&self.board).campaigns.push(campaign);
            let runs = self.pause(&mut random, RUNS);
            self.wait(runs).await;
            if self.until_answered(|| self.end_campaign(campaign)).await.is_none() {
                return;
            }
        }
    }

    /// Repeats a call until it has what it is for; `None` once the load stops.
    async fn until_answered<T, F: Future<Output = Option<T>>>(&self, call: impl Fn() -> F) -> Option<T> {
        while !self.stopped() {
            if let Some(done) = call().await {
                return Some(done);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Its own name makes a repetition harmless.
    async fn make_campaign(&self, name: &str) -> Option<i64> {
        let url = fastrand::choice(&self.world.urls)?;
        let body = json!({
            "name": name, "external_id": name, "pricing_model": "cpm", "unit_price": "1", "total_budget": "1"
        });
        let answer = self.http.post(format!("{url}/campaigns")).json(&body).bearer_auth(&self.world.token).send().await;
        let answer = answer.ok().filter(|answer| answer.status().is_success())?;
        answer.json::<Value>().await.ok()?.get("id")?.as_i64()
    }

    async fn end_campaign(&self, campaign: i64) -> Option<()> {
        let url = format!("{}/campaigns/{campaign}", fastrand::choice(&self.world.urls)?);
        let current = self.http.get(&url).bearer_auth(&self.world.token).send().await.ok()?;
        let etag = current.headers().get("etag")?.to_str().ok()?.to_owned();
        let body: Value = current.json().await.ok()?;
        if body.get("status")?.as_str()? == "ended" {
            return Some(());
        }
        let request = self.http.patch(&url).bearer_auth(&self.world.token).header("if-match", etag);
        let request = request.header("content-type", "application/merge-patch+json");
        let answer = request.body(json!({"status": "ended"}).to_string()).send().await.ok()?;
        answer.status().is_success().then_some(())
    }
}
