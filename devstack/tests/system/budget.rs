//! The budget of a campaign is spent to the last unit and no further, through two instances of the API of which one is
//! killed again and again.

use std::collections::BTreeSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::prelude::*;

/// A budget of 5, at 10 for a thousand.
const IMPRESSIONS: usize = 500;
const CLIENTS: usize = 8;
const USERS: usize = 50;
/// How long a client waits before it sends an event again: it got no answer, or one with `Retry-After`.
const AGAIN: Duration = Duration::from_millis(200);
/// Clients get `Retry-After` as long as leases of a killed instance are open.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the clients have in common.
struct Campaign {
    id: i64,
    token: String,
    /// Where the instances are now.
    apis: [RwLock<String>; 2],
    /// How many impressions each instance has accepted.
    accepted: [AtomicUsize; 2],
    next: AtomicUsize,
    /// How many impressions there may be so far.
    allowed: AtomicUsize,
}

enum Answer {
    Accepted,
    /// The budget is spent, for good.
    Spent,
    Again(String),
}

impl Campaign {
    async fn create(system: &System, apis: [&Api; 2]) -> Arc<Self> {
        let campaign = json!({"name": "c", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5"});
        let created = system.api.post("/campaigns", &system.token, campaign.to_string()).send().await.unwrap();
        assert_eq!(created.status(), 201);
        let id = created.json::<Value>().await.unwrap()["id"].as_i64().unwrap();
        Arc::new(Self {
            id,
            token: system.token.clone(),
            apis: apis.map(|api| RwLock::new(api.url(""))),
            accepted: Default::default(),
            next: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
        })
    }

    /// A client with connections of its own: sends impressions one after the other, each until it is accepted or the
    /// budget is spent. Returns the ids of those that were accepted.
    async fn send(self: Arc<Self>) -> BTreeSet<String> {
        let http = reqwest::Client::builder().timeout(TEST_TIMEOUT).build().unwrap();
        let mut accepted = BTreeSet::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            while number >= self.allowed.load(Ordering::Relaxed) {
                tokio::time::sleep(AGAIN).await;
            }
            let (begin, id) = (Instant::now(), format!("i-{number}"));
            // Each instance is the first for every other impression, and after a failure the other one is asked.
            for api in (number..).map(|attempt| attempt % 2) {
                match self.ask(&http, api, number, &id).await {
                    Answer::Accepted => {
                        self.accepted[api].fetch_add(1, Ordering::Relaxed);
                        accepted.insert(id);
                        break;
                    }
                    Answer::Spent => return accepted,
                    Answer::Again(why) => assert!(begin.elapsed() < PATIENCE, "{id}: {why}"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn ask(&self, http: &reqwest::Client, api: usize, number: usize, id: &str) -> Answer {
        let url = format!("{}/ad-events", self.apis[api].read().unwrap());
        let user = format!("u{}", number % USERS);
        let event = json!({"campaign_id": self.id, "user_id": user, "event_type": "impression", "event_id": id});
        let response = match http.post(url).bearer_auth(&self.token).json(&event).send().await {
            Ok(response) => response,
            // It is killed, or starts.
            Err(error) => return Answer::Again(format!("{error:?}")),
        };
        let (status, comes_again) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
        let body = match response.text().await {
            Ok(body) => body,
            Err(error) if status != 202 => return Answer::Again(format!("{error:?}")),
            Err(_) => String::new(),
        };
        match status {
            202 => Answer::Accepted,
            409 if comes_again => Answer::Again(body),
            409 => {
                let problem: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(
                    (&problem["code"], &problem["scope"]),
                    (&json!("budget_exhausted"), &json!("total")),
                    "{body}"
                );
                Answer::Spent
            }
            503 => Answer::Again(body),
            other => panic!("{other}: {body}"),
        }
    }

    fn of(&self, api: usize) -> usize {
        self.accepted[api].load(Ordering::Relaxed)
    }
}

async fn is_ready(api: &Api) -> bool {
    api.public_ready().await.0 == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_spent_exactly_while_an_instance_is_killed_again_and_again() {
    let system = System::start("budget", &[]).await;
    let worker = system.worker();
    let mut second = system.another_api();
    system.until("the second instance is ready", async || is_ready(&second).await).await;
    let campaign = Campaign::create(&system, [&system.api, &second]).await;
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&campaign).send())).collect();

    // In the beginning, in the middle, and when the last units are leased. Each time it has taken some impressions, so
    // that it has leases.
    for (allowed, killed_after) in [(120, 20), (300, 150), (usize::MAX, IMPRESSIONS - 20)] {
        let before = campaign.of(1);
        campaign.allowed.store(allowed, Ordering::Relaxed);
        let is_due = async || campaign.of(1) >= before + 10 && campaign.of(0) + campaign.of(1) >= killed_after;
        system.until("it is killed", is_due).await;
        second.service.kill().unwrap();
        second = system.another_api();
        *campaign.apis[1].write().unwrap() = second.url("");
        system.until("it is ready again", async || is_ready(&second).await).await;
    }

    let mut accepted = BTreeSet::new();
    for client in clients {
        accepted.extend(client.await.unwrap());
    }
    assert_eq!(accepted.len(), IMPRESSIONS, "each was accepted once");
    let show = async |api: &Api, path: &str| -> Value {
        let path = format!("{path}/{}", campaign.id);
        api.get(&path, &system.token).send().await.unwrap().json().await.unwrap()
    };
    for api in [&system.api, &second] {
        system.until("all leases are closed", async || show(api, "/campaigns").await["reserved"] == "0").await;
        let shown = show(api, "/campaigns").await;
        assert_eq!(["spent", "remaining", "state"].map(|name| shown[name].clone()), ["5", "0", "exhausted"], "{shown}");
        let report = show(api, "/report/campaign").await;
        let counts = ["impressions", "void", "clicks"].map(|name| report[name].as_u64());
        assert_eq!((counts, &report["spend"]), ([IMPRESSIONS as u64, 0, 0].map(Some), &json!("5")), "{report}");
        assert_eq!((&report["remaining"], &report["invalid"]), (&json!("0"), &json!({})), "{report}");
    }

    let ids = system.sql("SELECT string_agg(event_id, ',') FROM ad_events WHERE outcome = 'counted'").await;
    assert_eq!(ids.split(',').map(str::to_owned).collect::<BTreeSet<_>>(), accepted);
    for (query, expected) in [
        ("SELECT count(*) || ' ' || sum(cost) FROM ad_events", "500 5000000000"),
        ("SELECT spent || ' ' || reserved FROM campaigns", "5000000000 0"),
        ("SELECT sum(spent) || ' ' || sum(reserved) FROM campaign_days", "5000000000 0"),
        ("SELECT sum(impressions) || ' ' || sum(spend) || ' ' || sum(void) FROM ad_stats", "500 5000000000 0"),
        ("SELECT count(*)::text FROM ad_leases", "0"),
    ] {
        assert_eq!(system.sql(query).await, expected, "{query}");
    }
    assert_eq!(worker.sample("ads_budget_violations").await, Some(0.0));
    worker.end().await;
}
