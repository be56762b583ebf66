//! Campaigns: who may do what, and conditional changes.

use sqlx::PgPool;

use crate::prelude::*;

pub(crate) fn of(subject: &str, roles: &[&str]) -> String {
    devstack::token::hs256(SECRET, subject, roles, &[], Duration::from_secs(600)).unwrap()
}

pub(crate) fn advertiser(subject: &str) -> String {
    of(subject, &["advertiser"])
}

pub(crate) fn demo() -> Value {
    json!({
        "name": "demo", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5", "daily_budget": "1",
        "freq_cap_impressions_per_day": 2
    })
}

/// The app, and a caller of it.
pub(crate) struct As<'a>(pub(crate) &'a TestApp, pub(crate) Option<String>);

impl As<'_> {
    pub(crate) fn call(&self, call: &str) -> RequestBuilder {
        let (method, path) = call.split_once(' ').unwrap();
        let request = self.0.request(method, path);
        match &self.1 {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The status, headers and body of an answer, which is as the document says.
    pub(crate) async fn get(&self, path: &str) -> (u16, reqwest::header::HeaderMap, Value) {
        let (status, headers, body) = checked(self.call(&format!("GET {path}")).send().await.unwrap()).await;
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn send(&self, call: &str, body: &Value) -> Response {
        self.call(call).header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    }

    pub(crate) async fn create(&self, members: &Value) -> Value {
        let response = self.send("POST /campaigns", members).await;
        let (status, headers, body) = checked(response).await;
        let campaign: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &headers["etag"]), (201, &"\"1\"".parse().unwrap()), "{campaign}");
        assert_eq!(headers["location"], format!("/campaigns/{}", campaign["id"]));
        campaign
    }

    pub(crate) async fn patch(&self, id: &Value, if_match: Option<&str>, members: &Value) -> Response {
        let mut request = self.call(&format!("PATCH /campaigns/{id}"));
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        let request = request.header("content-type", "application/merge-patch+json").body(members.to_string());
        request.send().await.unwrap()
    }
}

/// Reads an answer that is a campaign with this entity tag.
pub(crate) async fn campaign(response: Response, status: u16, tag: &str) -> Value {
    let (found, headers, body) = checked(response).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((found, headers.get("etag").map(|tag| tag.to_str().unwrap())), (status, Some(tag)), "{body}");
    body
}

pub(crate) async fn sql(app: &TestApp, statement: &'static str) {
    let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
}

#[tokio::test]
async fn the_walk_of_a_campaign() {
    let app = TestApp::start("ads_walk").await;
    let alice = As(&app, Some(advertiser("alice")));
    let created = alice.create(&demo()).await;
    assert_eq!((&created["id"], &created["state"], &created["owner"]), (&json!(1), &json!("running"), &json!("alice")));
    for path in ["/campaigns/1", "/campaigns/1/"] {
        let (status, headers, shown) = alice.get(path).await;
        assert_eq!((status, shown, &headers["etag"]), (200, created.clone(), &"\"1\"".parse().unwrap()), "{path}");
        assert_eq!(headers["cache-control"], "no-store", "its money changes without its tag");
    }
    for path in ["/campaigns", "/campaigns/", "/campaigns?status=active&limit=1&_=1"] {
        assert_eq!(alice.get(path).await.2, json!({"campaigns": [created], "next": null}), "{path}");
    }
    let second = alice.send("POST /campaigns/", &demo()).await;
    assert_eq!((second.status().as_u16(), &second.headers()["location"]), (201, &"/campaigns/2".parse().unwrap()));
    let page = alice.get("/campaigns?limit=1").await.2;
    assert_eq!((&page["campaigns"][0]["id"], &page["next"]), (&json!(1), &json!(1)));
    let page = alice.get("/campaigns?limit=1&after=1").await.2;
    assert_eq!((&page["campaigns"][0]["id"], &page["next"]), (&json!(2), &Value::Null));
    let bad = alice.call("GET /campaigns?limit=101").send().await.unwrap();
    assert_eq!(problem(bad).await["detail"], "limit must be a number from 1 to 100");

    for (call, status, state, tag) in [
        ("pause", "paused", "paused", "\"2\""),
        ("pause", "paused", "paused", "\"2\""),
        ("resume", "active", "running", "\"3\""),
        ("end", "ended", "ended", "\"4\""),
        ("end", "ended", "ended", "\"4\""),
    ] {
        let response = alice.call(&format!("POST /campaigns/1/{call}")).send().await.unwrap();
        let shown = campaign(response, 200, tag).await;
        assert_eq!((&shown["status"], &shown["state"]), (&json!(status), &json!(state)), "{call}");
    }
    let ended = alice.call("POST /campaigns/1/resume").send().await.unwrap();
    is_refused(ended, 409, "campaign_ended", None).await;
    is_refused(alice.patch(&json!(1), Some("*"), &json!({"name": "n"})).await, 409, "campaign_ended", None).await;
}

#[tokio::test]
async fn a_repeat_with_an_external_id_is_answered_with_the_first() {
    let app = TestApp::start("ads_repeat").await;
    let alice = As(&app, Some(advertiser("alice")));
    let mut members = demo();
    members["external_id"] = "x-1".into();
    let first = alice.create(&members).await;
    members["name"] = "again".into();
    let repeat = alice.send("POST /campaigns", &members).await;
    assert!(!repeat.headers().contains_key("location"));
    assert_eq!(campaign(repeat, 200, "\"1\"").await, first);
    let bob = As(&app, Some(advertiser("bob")));
    assert_eq!(bob.create(&members).await["id"], 2);
}

#[tokio::test]
async fn who_may_see_and_change_a_campaign() {
    let app = TestApp::with("ads_roles", &["--ads-anonymous-roles=advertiser"]).await;
    let (alice, bob) = (As(&app, Some(advertiser("alice"))), As(&app, Some(advertiser("bob"))));
    let (nobody, admin) = (As(&app, None), As(&app, Some(of("root", &["admin"]))));
    // A token may have the name of callers without a token, or none of the roles.
    let (named, tracker) =
        (As(&app, Some(advertiser("anonymous"))), As(&app, Some(of("alice", &["tracker", "device"]))));
    assert_eq!(alice.create(&demo()).await["owner"], "alice");
    assert_eq!(nobody.create(&demo()).await["owner"], Value::Null);
    assert_eq!(admin.create(&demo()).await["owner"], "root");

    let mut members = demo();
    members["name"] = "changed".into();
    for (caller, seen) in
        [(&alice, vec![1]), (&bob, vec![]), (&nobody, vec![2]), (&named, vec![]), (&admin, vec![1, 2, 3])]
    {
        let list = caller.get("/campaigns").await.2;
        let ids: Vec<_> = list["campaigns"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, seen);
        for id in 1..=4 {
            let is_seen = seen.contains(&id);
            for call in [
                format!("GET /campaigns/{id}"),
                format!("GET /report/campaign/{id}"),
                format!("GET /report/campaign/{id}/?by=hour"),
                format!("POST /campaigns/{id}/pause"),
            ] {
                let response = caller.call(&call).send().await.unwrap();
                if is_seen {
                    assert_eq!(checked(response).await.0, 200, "{call}");
                } else {
                    is_refused(response, 404, "campaign_not_found", None).await;
                }
            }
            let response = caller.patch(&json!(id), Some("*"), &json!({"name": "n"})).await;
            assert_eq!(response.status(), if is_seen { 200 } else { 404 }, "{id}");
        }
    }
    for call in ["GET /campaigns", "GET /campaigns/1", "POST /campaigns/1/end", "GET /report/campaign/1"] {
        let refused = problem(tracker.call(call).send().await.unwrap()).await;
        assert_eq!((&refused["status"], &refused["code"]), (&json!(403), &json!("forbidden")), "{call}");
        let bad = app.request(call.split_once(' ').unwrap().0, call.split_once(' ').unwrap().1).bearer_auth("x");
        assert_eq!(
            problem(bad.send().await.unwrap()).await["code"],
            "invalid_token",
            "a token that is there must be good"
        );
    }
    assert_eq!(problem(tracker.send("POST /campaigns", &demo()).await).await["code"], "forbidden");
    for id in ["0", "-1", "x", "01", "99999999999999999999", "%FF"] {
        let response = admin.call(&format!("GET /campaigns/{id}")).send().await.unwrap();
        is_refused(response, 404, "campaign_not_found", None).await;
        let response = admin.call(&format!("GET /report/campaign/{id}")).send().await.unwrap();
        is_refused(response, 404, "campaign_not_found", None).await;
    }
}

#[tokio::test]
async fn without_the_setting_a_caller_needs_a_token() {
    let app = TestApp::start("ads_token").await;
    let nobody = As(&app, None);
    for call in ["GET /campaigns", "GET /campaigns/1", "POST /campaigns/1/pause", "GET /report/campaign/1"] {
        let refused = problem(nobody.call(call).send().await.unwrap()).await;
        assert_eq!(refused["status"], 401, "{call}");
    }
    assert_eq!(problem(nobody.send("POST /campaigns", &demo()).await).await["status"], 401);
}

#[tokio::test]
async fn a_change_names_the_revision_that_it_changes() {
    let app = TestApp::start("ads_if_match").await;
    let alice = As(&app, Some(advertiser("alice")));
    let id = alice.create(&demo()).await["id"].clone();
    let change = json!({"name": "new", "daily_budget": null});
    is_refused(alice.patch(&id, None, &change).await, 428, "precondition_required", None).await;
    for stale in ["\"2\"", "W/\"1\"", "1", "\"x\""] {
        is_refused(alice.patch(&id, Some(stale), &change).await, 412, "precondition_failed", None).await;
    }
    let changed = campaign(alice.patch(&id, Some("\"7\", \"1\""), &change).await, 200, "\"2\"").await;
    assert_eq!((&changed["name"], &changed["daily_budget"]), (&json!("new"), &Value::Null));
    is_refused(alice.patch(&id, Some("\"1\""), &change).await, 412, "precondition_failed", None).await;
    // Without a difference there is no new revision.
    campaign(alice.patch(&id, Some("\"2\""), &change).await, 200, "\"2\"").await;
    campaign(alice.patch(&id, Some("*"), &json!({"name": "any"})).await, 200, "\"3\"").await;
    // Plain JSON is a merge patch, too.
    let plain =
        alice.call("PATCH /campaigns/1/").header("if-match", "\"3\"").header("content-type", "application/json");
    campaign(plain.body(r#"{"name": "plain"}"#).send().await.unwrap(), 200, "\"4\"").await;
    let text = alice.call("PATCH /campaigns/1").header("if-match", "\"4\"").header("content-type", "text/plain");
    is_refused(text.body("{}").send().await.unwrap(), 415, "unsupported_media_type", None).await;
    // The calls that only set the status take the header, and do not need it.
    let pause = |tag: &'static str| alice.call("POST /campaigns/1/pause").header("if-match", tag).send();
    is_refused(pause("\"3\"").await.unwrap(), 412, "precondition_failed", None).await;
    campaign(pause("\"4\"").await.unwrap(), 200, "\"5\"").await;
}

#[tokio::test]
async fn every_fault_is_reported_at_once() {
    let app = TestApp::start("ads_faults").await;
    let alice = As(&app, Some(advertiser("alice")));
    let pointers = |refused: &Value| -> Vec<String> {
        let errors = refused["errors"].as_array().unwrap().iter();
        errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    };
    let body =
        json!({"pricing_model": "cpx", "unit_price": "1e3", "total_budget": -1, "timezone": "Mars/Base", "x": 1});
    let refused = is_refused(alice.send("POST /campaigns", &body).await, 422, "invalid_campaign", None).await;
    let expected = ["/x", "/name", "/pricing_model", "/unit_price", "/total_budget", "/timezone"];
    let mut found = pointers(&refused);
    found.sort_unstable();
    let mut expected = expected.map(str::to_owned);
    expected.sort_unstable();
    assert_eq!(found, expected, "{refused}");
    let mut unknown_zone = demo();
    unknown_zone["timezone"] = "Mars/Base".into();
    let refused = is_refused(alice.send("POST /campaigns", &unknown_zone).await, 422, "invalid_campaign", None).await;
    assert_eq!(refused["errors"], json!([{"pointer": "/timezone", "detail": "is not a time zone that is known here"}]));

    let id = alice.create(&demo()).await["id"].clone();
    assert_eq!(id, 1, "no refusal uses up an id");
    for (change, expected) in [
        (json!({"name": null, "id": 7, "timezone": "Mars/Base"}), vec!["/id", "/name", "/timezone"]),
        (
            json!({"daily_budget": "6", "status": "draft", "timezone": "Mars/Base"}),
            vec!["/daily_budget", "/status", "/timezone"],
        ),
        (json!({"name": "", "daily_budget": "100"}), vec!["/daily_budget", "/name"]),
        (
            json!({"unit_price": "1e2", "status": "draft", "timezone": "Factory"}),
            vec!["/status", "/timezone", "/unit_price"],
        ),
    ] {
        let refused = is_refused(alice.patch(&id, Some("*"), &change).await, 422, "invalid_campaign", None).await;
        let mut found = pointers(&refused);
        found.sort_unstable();
        assert_eq!(found, expected, "{refused}");
    }
    for (body, status, code) in [("{", 400, "not_json"), ("[]", 422, "invalid_campaign")] {
        let request = alice.call("POST /campaigns").header("content-type", "application/json").body(body);
        is_refused(request.send().await.unwrap(), status, code, None).await;
    }
}

#[tokio::test]
async fn a_budget_that_is_too_low_is_told_the_least() {
    let app = TestApp::start("ads_least").await;
    let alice = As(&app, Some(advertiser("alice")));
    let id = alice.create(&demo()).await["id"].clone();
    sql(&app, "UPDATE campaigns SET spent = 500000001, reserved = 10000000").await;
    let named = json!({"total_budget": "0.51", "daily_budget": null, "name": ""});
    let refused = is_refused(alice.patch(&id, Some("\"1\""), &named).await, 422, "invalid_campaign", None).await;
    let pointers: Vec<_> = refused["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/name", "/total_budget"], "with another fault it is one of them");
    let low = json!({"total_budget": "0.51", "daily_budget": null});
    let refused = is_refused(alice.patch(&id, Some("\"1\""), &low).await, 409, "budget_below_spend", None).await;
    assert_eq!((&refused["least"], &refused["errors"][0]["pointer"]), (&json!("0.510001"), &json!("/total_budget")));
    let least = json!({"total_budget": refused["least"], "daily_budget": null});
    let changed = campaign(alice.patch(&id, Some("\"1\""), &least).await, 200, "\"2\"").await;
    assert_eq!((&changed["remaining"], &changed["reserved"]), (&json!("0.010000999"), &json!("0.01")));
}
