//! An advertiser's calls, each with its observation.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::history::History;
use crate::history::ads::{Created, Patch, Seen, Terms, nanos};
use crate::load::lock;
use crate::world::World;

/// The deadline for a call to succeed, with all its attempts: another fault may keep PostgreSQL away.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// A caller that makes campaigns, changes and reads them.
pub struct Advertiser<'a> {
    pub http: reqwest::Client,
    pub world: &'a World,
    pub history: &'a Arc<Mutex<History>>,
    pub began: Instant,
}

/// Other faults last so long that nothing can be done meanwhile.
#[derive(Debug)]
pub struct TooLong(String);

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLong {}

/// A campaign as it is now.
struct Current {
    seen: Seen,
    etag: String,
}

/// An answer with a body of JSON.
struct Answer {
    status: u16,
    etag: Option<String>,
    body: Value,
}

impl<'a> Advertiser<'a> {
    pub fn new(world: &'a World, history: &'a Arc<Mutex<History>>, began: Instant) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(super::TIMEOUT).build()?;
        Ok(Self { http, world, history, began })
    }

    /// Makes a campaign, as often as it takes: its own name makes that harmless.
    pub async fn create(&self, external_id: &str, mut body: Value) -> anyhow::Result<i64> {
        let terms = Terms::of_body(&body).with_context(|| format!("no terms: {body}"))?;
        if let Some(members) = body.as_object_mut() {
            members.extend([("name".into(), json!(external_id)), ("external_id".into(), json!(external_id))]);
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.ask(|url| self.http.post(format!("{url}/campaigns")).json(&body)).await;
            if let Some(answer) = answer {
                let campaign = answer.body.get("id").and_then(Value::as_i64).filter(|_| answer.status < 300);
                let (external_id, status, terms) = (external_id.to_owned(), answer.status, terms.clone());
                lock(self.history).ads.created.push(Created { external_id, status, campaign, terms });
                if let Some(campaign) = campaign {
                    return Ok(campaign);
                }
                anyhow::ensure!(answer.status >= 500, "a campaign was refused: {}: {}", answer.status, answer.body);
            }
            if Instant::now() > deadline {
                return Err(TooLong(format!("no campaign could be made for {DEADLINE:?}")).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Changes a campaign by what this makes of its money; repeats that if somebody else was faster, or there was no
    /// answer. Returns the least budget that is possible, if this one was too low.
    pub async fn change(&self, campaign: i64, change: impl Fn(&Seen) -> Value) -> anyhow::Result<Option<i64>> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(current) = self.current(campaign).await {
                let patch = self.patch(campaign, &current.etag, change(&current.seen)).await;
                match patch {
                    Some(Patch { status: 200, .. }) => return Ok(None),
                    Some(Patch { status: 409, least, .. }) => return Ok(least),
                    Some(Patch { status, code, .. }) if status < 500 && status != 412 => {
                        anyhow::bail!("the change was refused: {status} {code:?}")
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(TooLong(format!("campaign {campaign} could not be changed for {DEADLINE:?}")).into())
    }

    async fn patch(&self, campaign: i64, etag: &str, change: Value) -> Option<Patch> {
        let from = self.began.elapsed();
        let request = |url: &str| {
            let request = self.http.patch(format!("{url}/campaigns/{campaign}")).header("if-match", etag);
            request.header("content-type", "application/merge-patch+json").body(change.to_string())
        };
        let answer = self.ask(request).await?;
        let member = |name: &str| change.get(name).filter(|value| !value.is_null());
        let patch = Patch {
            campaign,
            from,
            to: self.began.elapsed(),
            status: answer.status,
            code: answer.body.get("code").and_then(Value::as_str).map(ToOwned::to_owned),
            total: member("total_budget").and_then(nanos),
            daily: member("daily_budget").and_then(nanos),
            cap: member("freq_cap_impressions_per_day").and_then(Value::as_u64).and_then(|cap| cap.try_into().ok()),
            revision: answer.body.get("revision").and_then(Value::as_i64),
            least: answer.body.get("least").and_then(nanos),
        };
        lock(self.history).ads.patches.push(patch.clone());
        Some(patch)
    }

    /// Reads a campaign and records its money.
    pub async fn see(&self, campaign: i64) -> Option<Seen> {
        Some(self.current(campaign).await?.seen)
    }

    async fn current(&self, campaign: i64) -> Option<Current> {
        let at = self.began.elapsed();
        let answer = self.ask(|url| self.http.get(format!("{url}/campaigns/{campaign}"))).await?;
        let money = |name: &str| answer.body.get(name).and_then(nanos);
        let [total, spent, reserved] = ["total_budget", "spent", "reserved"].map(money);
        let seen = Seen { campaign, at, total: total?, spent: spent?, reserved: reserved? };
        lock(self.history).ads.seen.push(seen.clone());
        Some(Current { seen, etag: answer.etag? })
    }

    /// Asks one of the APIs; `None` without an answer, or if its body is not JSON.
    async fn ask(&self, request: impl Fn(&str) -> reqwest::RequestBuilder) -> Option<Answer> {
        let url = fastrand::choice(&self.world.urls)?;
        let answer = request(url).bearer_auth(&self.world.token).send().await.ok()?;
        let status = answer.status().as_u16();
        let etag = answer.headers().get("etag").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Some(Answer { status, etag, body: answer.json().await.ok()? })
    }
}
