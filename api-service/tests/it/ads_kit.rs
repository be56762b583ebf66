//! Helpers for tests of ad events.

use shared::ads::queries::{BEGIN, apply};
use shared::ads::{AdDelivery, AdEvent, AdStream};
use shared::kafka::{Delivery, Stream as _, decode};
use shared::store::{Failure, Tx, Work};
use sqlx::PgPool;

use crate::app::redis_at;
use crate::prelude::*;
use crate::topic::records_of;

/// Ad events for one server.
pub(crate) struct Ads {
    pub(crate) app: TestApp,
    pub(crate) pool: PgPool,
    token: String,
}

struct Batch<'a>(&'a [&'a AdDelivery]);

impl Work for Batch<'_> {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        apply(tx, self.0).await.map(drop)
    }
}

impl Ads {
    pub(crate) async fn start(name: &str) -> Self {
        Self::with(name, &[]).await
    }

    pub(crate) async fn with(name: &str, settings: &[&str]) -> Self {
        Self::of(TestApp::with(name, settings).await).await
    }

    pub(crate) async fn of(app: TestApp) -> Self {
        let ads = Self::without_caps(app).await;
        // A campaign that is older than the incarnation would need a worker that proves it.
        until("the incarnation of Redis is noted", async || {
            ads.number("SELECT count(*) FROM redis_incarnations").await > 0
        })
        .await;
        ads
    }

    /// For a server that meets no Redis for its caps.
    pub(crate) async fn without_caps(app: TestApp) -> Self {
        let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
        Self { app, pool, token: admin() }
    }

    /// Makes a campaign of 0.01 an impression, and a budget of 5, with these members changed.
    pub(crate) async fn campaign(&self, changed: Value) -> i64 {
        let mut members = json!({"name": "c", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5"});
        members.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let response = self.post("/campaigns", &members).send().await.unwrap();
        let (status, _, body) = checked(response).await;
        let campaign: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 201, "{campaign}");
        campaign["id"].as_i64().unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.app.request("POST", path).bearer_auth(&self.token);
        request.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) async fn send(&self, event: &Value) -> Response {
        self.post("/ad-events", event).send().await.unwrap()
    }

    /// Sends an event that has to be accepted.
    pub(crate) async fn accepted(&self, event: &Value) -> Value {
        let (status, _, body) = checked(self.send(event).await).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer["status"]), (202, &json!("accepted")), "{answer}");
        answer
    }

    /// The status of an event.
    pub(crate) async fn status(&self, event: &Value) -> u16 {
        checked(self.send(event).await).await.0
    }

    /// The problem of an event that has to be refused, and its `Retry-After`.
    pub(crate) async fn refused(&self, event: &Value, status: u16, code: &str) -> (Value, Option<u64>) {
        let response = self.send(event).await;
        let later = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        let problem = problem(response).await;
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{problem}");
        (problem, later)
    }

    /// Acts as the worker: applies the first `count` events of the topic.
    pub(crate) async fn work(&self, count: usize) {
        let records = records_of(&self.app, &self.app.scope.ads_topic, count).await;
        assert_eq!(records.len(), count);
        let deliveries: Vec<_> = records
            .iter()
            .map(|record| {
                let (envelope, position) = decode(record, &AdStream::SPEC).unwrap();
                let event = AdEvent::decode(&envelope).unwrap();
                Delivery { envelope, position, event }
            })
            .collect();
        let batch: Vec<_> = deliveries.iter().collect();
        self.app.store().transact(BEGIN, &Batch(&batch)).await.unwrap();
    }

    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }
}

pub(crate) fn impression(campaign: i64, user: &str) -> Value {
    event(campaign, user, "impression")
}

pub(crate) fn event(campaign: i64, user: &str, event_type: &str) -> Value {
    json!({"campaign_id": campaign, "user_id": user, "event_type": event_type})
}

/// The same event with an id.
pub(crate) fn named(mut event: Value, id: &str) -> Value {
    event["event_id"] = id.into();
    event
}

pub(crate) async fn flush(url: &str) {
    let () = redis::cmd("FLUSHALL").query_async(&mut redis_at(url).await).await.unwrap();
}
