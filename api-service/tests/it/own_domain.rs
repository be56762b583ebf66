//! A domain that lets callers come without a token, that answers with members of its own, and that knows repeats: what
//! the backbone makes of it.

use std::sync::{Arc, Mutex};

use api_service::auth::Caller;
use api_service::http::layers::layered;
use api_service::http::problem::{Code, Problem};
use api_service::http::rate;
use api_service::http::subject::{About, Subject, SubjectKind};
use api_service::ingest::producer::Outcome;
use api_service::ingest::{self, Admission, Done, Ingest, Item};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::middleware::from_fn;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use shared::kafka::ids::EventId;
use shared::kafka::{Envelope, Outgoing};
use shared::runtime::config::AccessLog;
use shared::runtime::json::{BodyError, Fault};
use time::OffsetDateTime;
use tower::ServiceExt as _;

use crate::prelude::*;

static THING: SubjectKind = SubjectKind { field: "thing_id", log: |_, _| {} };

const CAPPED: Code = Code::new(StatusCode::TOO_MANY_REQUESTS, "capped", "Capped");
const SPENT: Code = Code::new(StatusCode::CONFLICT, "spent", "Spent");
const CLOSED: Code = Code::new(StatusCode::CONFLICT, "closed", "Closed");
const NO_ROOM: Code = Code::new(StatusCode::SERVICE_UNAVAILABLE, "no_room", "No room");

/// An event; `verdict` is what the domain has to say of it.
#[derive(Debug, Clone, Deserialize)]
struct Thing {
    event_id: String,
    verdict: String,
}

impl Thing {
    fn id(&self) -> EventId {
        self.event_id.parse().unwrap()
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    cost: &'static str,
    at: i64,
}

#[derive(Clone)]
struct Things {
    anonymous: Option<Arc<Caller>>,
    settled: Arc<Mutex<Vec<(String, &'static str)>>>,
}

impl Ingest for Things {
    type Submission = Thing;
    type Admitted = Thing;
    type Answer = Answer;

    const SUBJECT: &'static SubjectKind = &THING;

    fn anonymous(&self) -> Option<Arc<Caller>> {
        self.anonymous.clone()
    }

    fn authorize(&self, caller: &Caller) -> Result<(), Problem> {
        caller.needs_any(&["admin", "tracker"])
    }

    fn parse(&self, item: Item<'_>) -> Result<Thing, BodyError> {
        let Item::Plain(_, value) = item else { panic!("a CloudEvent") };
        let fault = |error: serde_json::Error| Fault { pointer: String::new(), detail: error.to_string() };
        serde_json::from_str(value.get()).map_err(|error| BodyError::NotAnEvent(vec![fault(error)]))
    }

    async fn admit(&self, _: &Caller, events: Vec<Thing>) -> Vec<Admission<Thing, Answer>> {
        let admit = |event: Thing| {
            let subject = Some(Subject::new(&THING, "t".into()));
            let about = About { subject, event_id: Some(event.id()) };
            let refuse = |code, wait| {
                let problem = Problem::new(code, "no").with_member("scope", "day").with_member("least", 7);
                Admission::Refuse(problem.retry_after(wait).about(about.clone()))
            };
            match event.verdict.as_str() {
                "send" => Admission::Send(event),
                "done" => Admission::Done(Done { about, answer: Answer { cost: "0.5", at: 0 } }),
                "capped" => refuse(CAPPED, 3_600),
                "spent" => refuse(SPENT, 60),
                "over" => Admission::Refuse(Problem::new(CAPPED, "no").retry_after(3_600).for_good().about(about)),
                "closed" => Admission::Refuse(Problem::new(CLOSED, "no").about(about)),
                _ => refuse(NO_ROOM, 1),
            }
        };
        events.into_iter().map(admit).collect()
    }

    fn answer(&self, _: &Thing, accepted_at: OffsetDateTime) -> Answer {
        Answer { cost: "0.01", at: accepted_at.unix_timestamp() }
    }

    fn record(&self, thing: &Thing, accepted_at: OffsetDateTime) -> Outgoing {
        let data = Bytes::from_static(b"{}");
        let mut envelope = Envelope::new("thing.v1", "t".into(), thing.id(), accepted_at, data);
        envelope.extensions = vec![("cost", "0.01".to_owned())];
        Outgoing { envelope, source: "/things/t".to_owned() }
    }

    fn settle(&self, thing: Thing, outcome: Outcome) -> Result<(), (Code, &'static str)> {
        self.settled.lock().unwrap().push((thing.event_id, outcome.as_str()));
        outcome.verdict()
    }
}

/// The domain beside the server of this test, whose topic it uses.
struct Served {
    routes: Router,
    things: Things,
}

impl Served {
    fn beside(app: &TestApp, anonymous: Option<&[&str]>) -> Self {
        let anonymous =
            anonymous.map(|roles| Arc::new(Caller::anonymous(roles.iter().map(|&role| role.to_owned()).collect())));
        let things = Things { anonymous, settled: Arc::default() };
        let producer = app.backbone.producer(&app.scope.input_topic).unwrap();
        let routes =
            ingest::routes(["/things", "/things/batch"], things.clone(), producer, app.backbone.ingest.clone());
        let routes = routes.into_iter().fold(Router::new(), |all, (path, answers)| all.route(path, answers));
        Self { routes: layered(routes.layer(from_fn(rate::announce)), AccessLog::ALL), things }
    }

    /// The status, headers and body of the answer to these events, with these headers.
    async fn send(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, HeaderMap, Value) {
        let mut request = Request::post(path).header("content-type", "application/json").header("x-request-id", "r");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let (parts, body) = self.routes.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap())
    }

    fn settled(&self) -> Vec<(String, &'static str)> {
        std::mem::take(&mut *self.things.settled.lock().unwrap())
    }
}

fn thing(id: &str, verdict: &str) -> Value {
    json!({"event_id": id, "verdict": verdict})
}

fn wait(headers: &HeaderMap) -> Option<&str> {
    headers.get("retry-after").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn one_event_is_answered_with_the_domains_members() {
    let app = TestApp::start("own_single").await;
    let served = Served::beside(&app, None);
    let bearer = format!("Bearer {}", admin());
    let token = [("authorization", bearer.as_str())];
    let (status, _, told) = served.send("/things", &thing("e-1", "send"), &token).await;
    let at = told["at"].as_i64().unwrap();
    assert!((OffsetDateTime::now_utc().unix_timestamp() - at).abs() < 60, "{told}");
    let expected = json!({"request_id": "r", "status": "accepted", "event_id": "e-1", "cost": "0.01", "at": at});
    assert_eq!((status, told), (202, expected));
    assert_eq!(served.settled(), [("e-1".to_owned(), "accepted")]);

    // A repeat is answered as an accepted event, and not sent.
    let (status, _, told) = served.send("/things", &thing("e-2", "done"), &token).await;
    let expected = json!({"request_id": "r", "status": "accepted", "event_id": "e-2", "cost": "0.5", "at": 0});
    assert_eq!((status, told), (202, expected));
    for (verdict, expected) in [
        ("capped", (429, "capped", Some("3600"))),
        ("spent", (409, "spent", Some("60"))),
        ("no_room", (503, "no_room", Some("1"))),
    ] {
        let (status, headers, told) = served.send("/things", &thing("e-3", verdict), &token).await;
        assert_eq!((status, told["code"].as_str().unwrap(), wait(&headers)), expected);
        assert_eq!((&told["scope"], &told["least"], &told["event_id"]), (&json!("day"), &json!(7), &json!("e-3")));
    }
    assert_eq!(served.settled(), []);

    let records = records(&app, 1).await;
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.header("ce_cost"), Some(&b"0.01"[..]));
    assert_eq!(record.header("ce_userid"), Some(&b"alice"[..]));
}

#[tokio::test]
async fn in_a_batch_each_event_has_the_domains_verdict() {
    let app = TestApp::start("own_batch").await;
    let served = Served::beside(&app, None);
    let bearer = format!("Bearer {}", admin());
    let token = [("authorization", bearer.as_str())];
    let all =
        [("e-1", "done"), ("e-2", "send"), ("e-3", "capped"), ("e-4", "no_room"), ("e-5", "send"), ("e-6", "spent")];
    let all = Value::from_iter(all.map(|(id, verdict)| thing(id, verdict)));
    let (status, headers, told) = served.send("/things/batch", &all, &token).await;
    assert_eq!((status, wait(&headers)), (207, None));
    let items = json!([
        {"index": 0, "status": 202, "event_id": "e-1"},
        {"index": 1, "status": 202, "event_id": "e-2"},
        {"index": 2, "status": 429, "code": "capped", "event_id": "e-3", "retry_after": 3_600},
        {"index": 3, "status": 503, "code": "no_room", "event_id": "e-4", "retry_after": 1},
        {"index": 4, "status": 202, "event_id": "e-5"},
        {"index": 5, "status": 409, "code": "spent", "event_id": "e-6", "retry_after": 60},
    ]);
    assert_eq!(told, json!({"request_id": "r", "status": "partial", "accepted": 3, "items": items}));
    assert_eq!(served.settled(), [("e-2".to_owned(), "accepted"), ("e-5".to_owned(), "accepted")]);

    let repeats = json!([thing("e-1", "done"), thing("e-2", "done")]);
    let (status, _, told) = served.send("/things/batch", &repeats, &token).await;
    assert_eq!((status, told), (202, json!({"request_id": "r", "status": "accepted", "accepted": 2})));

    // What may be accepted later is a 503, a 429, or has a wait; unless the domain says that this is for good.
    let prefer = |handling| [token[0], ("prefer", handling)];
    for (verdicts, expected) in [
        (["send", "closed"], (202, None)),
        (["send", "over"], (202, None)),
        (["done", "spent"], (429, Some("60"))),
        (["over", "spent"], (429, Some("60"))),
        (["send", "capped"], (429, Some("3600"))),
        (["capped", "no_room"], (503, Some("1"))),
    ] {
        let all = Value::from_iter(verdicts.map(|verdict| thing("e-7", verdict)));
        let (status, headers, _) = served.send("/things/batch", &all, &prefer("handling=lenient")).await;
        assert_eq!((status, wait(&headers)), expected, "{verdicts:?}");
    }
    assert_eq!(served.settled().len(), 3);

    // Of a strict batch that is refused, the domain gets back what it charged for the others.
    let all = json!([thing("e-8", "send"), thing("e-9", "done"), thing("e-10", "spent")]);
    let (status, headers, told) = served.send("/things/batch", &all, &prefer("handling=strict")).await;
    assert_eq!((status, wait(&headers), &told["code"]), (409, Some("60"), &json!("spent")));
    assert_eq!(told["detail"], "1 of 3 events are refused, see errors; none was sent");
    assert_eq!(served.settled(), [("e-8".to_owned(), "queue_full")]);
}

#[tokio::test]
async fn without_a_token_only_the_domains_that_allow_it_can_be_called() {
    let settings = ["--rate-limit-events-per-second=1", "--rate-limit-burst=3"];
    let app = TestApp::with("own_anonymous", &settings).await;
    let served = Served::beside(&app, Some(&["tracker"]));
    let (status, headers, told) = served.send("/things", &thing("e-1", "send"), &[]).await;
    assert_eq!((status, headers["ratelimit"].to_str().unwrap()), (202, r#""events";r=2;t=1"#), "{told}");
    // A token that has the name of callers without a token has a quota of its own.
    let named = devstack::token::hs256(SECRET, "anonymous", &["admin"], &[], Duration::from_secs(60)).unwrap();
    let bearer = format!("Bearer {named}");
    let (status, headers, _) = served.send("/things", &thing("e-2", "send"), &[("authorization", &bearer)]).await;
    assert_eq!((status, headers["ratelimit"].to_str().unwrap()), (202, r#""events";r=2;t=1"#));
    // All callers without a token share one. A slow machine gives some of it back between two requests.
    let all = json!([thing("e-3", "done"), thing("e-4", "done"), thing("e-5", "done")]);
    let mut tries = 0;
    while served.send("/things/batch", &all, &[]).await.0 != 429 {
        tries += 1;
        assert!(tries < 100, "nothing limits them");
    }
    let records = records(&app, 2).await;
    let user = |id: &str| {
        let record = records.iter().find(|record| record.header("ce_id") == Some(id.as_bytes())).unwrap();
        record.header("ce_userid").map(<[u8]>::to_vec)
    };
    assert_eq!((user("e-1"), user("e-2")), (None, Some(b"anonymous".to_vec())));

    // A token that is there has to be valid.
    for bad in ["Bearer abc", "Basic abc", ""] {
        let (status, _, told) = served.send("/things", &thing("e-6", "send"), &[("authorization", bad)]).await;
        assert_eq!((status, told["code"].as_str()), (401, Some("invalid_token")), "{bad:?}");
    }
    for (anonymous, detail) in [
        (None, "there is no Authorization header"),
        (
            Some(&["reader"][..]),
            "there is no Authorization header, and this needs a token with one of the roles admin, tracker",
        ),
    ] {
        let (status, headers, told) = Served::beside(&app, anonymous).send("/things", &thing("e-7", "send"), &[]).await;
        assert_eq!((status, told["detail"].as_str()), (401, Some(detail)));
        assert!(headers.contains_key("www-authenticate"));
    }
    // The domains of the server itself do not allow it.
    let response = app.request("POST", "/events").header("content-type", "application/json").body(EVENT).send().await;
    is_refused(response.unwrap(), 401, "invalid_token", None).await;
}
