//! Calls of web pages: what a browser needs to let the page of another origin send a request and read its answer.

use crate::contract::concrete;
use crate::prelude::*;

const PAGE: &str = "https://dashboard.example";

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn from(request: RequestBuilder, origin: &str) -> RequestBuilder {
    request.header("origin", origin)
}

/// What a browser asks before a page's `POST`, without its token.
async fn preflight(app: &TestApp, path: &str, origin: &str) -> Response {
    let request = from(app.request("OPTIONS", path), origin).header("access-control-request-method", "POST");
    let asked = "authorization,ce-anything,content-type,if-none-match";
    request.header("access-control-request-headers", asked).send().await.unwrap()
}

#[tokio::test]
async fn without_the_setting_nothing_is_said_to_browsers() {
    let app = TestApp::start("cors_none").await;
    let requests = [
        app.request("GET", "/health/live"),
        app.request("GET", "/resource/d").bearer_auth(user()),
        app.submission(&admin(), EVENT),
        app.request("GET", "/nowhere"),
    ];
    for request in requests {
        let answer = from(request, PAGE).send().await.unwrap();
        let said = answer.headers().keys().find(|name| name.as_str().starts_with("access-control") || *name == "vary");
        assert_eq!(said, None, "{}", answer.url());
    }
    for (path, allow) in [("/events", "POST"), ("/resource/d", "GET,HEAD")] {
        let answer = preflight(&app, path, PAGE).await;
        assert_eq!((header(&answer, "allow"), header(&answer, "vary")), (Some(allow), None));
        is_refused(answer, 405, "method_not_allowed", None).await;
    }
}

#[tokio::test]
async fn a_preflight_needs_no_token_on_any_route() {
    let app = TestApp::with("cors_preflight", &[&format!("--cors-origins=https://x.example,{PAGE}")]).await;
    for path in &app.paths {
        let answer = preflight(&app, &concrete(path), PAGE).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "access-control-allow-origin")),
            (200, Some(PAGE)),
            "{path}"
        );
        let asked = "authorization,ce-anything,content-type,if-none-match";
        assert_eq!(header(&answer, "access-control-allow-headers"), Some(asked), "{path}");
        assert_eq!(header(&answer, "access-control-allow-methods"), Some("GET,HEAD,POST,PUT,PATCH,DELETE"), "{path}");
        assert_eq!(header(&answer, "access-control-max-age"), Some("7200"), "{path}");
        assert_eq!(header(&answer, "access-control-allow-credentials"), None, "{path}");
        assert!(header(&answer, "vary").unwrap().contains("origin"), "{path}");
        assert!(header(&answer, "x-request-id").is_some(), "{path}");
        assert_eq!(answer.bytes().await.unwrap().len(), 0, "{path}");
    }
    for origin in
        ["https://dashboard.example.evil.example", "http://dashboard.example", "https://dashboard.example:8443", "null"]
    {
        let answer = preflight(&app, "/events", origin).await;
        assert_eq!(header(&answer, "access-control-allow-origin"), None, "{origin}");
    }
}

#[tokio::test]
async fn a_page_can_read_every_answer() {
    let origins = format!("--cors-origins={PAGE}");
    let settings = [
        origins.as_str(),
        "--rate-limit-events-per-second=1",
        "--rate-limit-burst=20",
        "--max-bytes-in-flight=17825792",
    ];
    let app = TestApp::with("cors_answers", &settings).await;
    assert_eq!(app.submit(EVENT).await.status(), 202);
    work(&app, 1).await;
    let tag = app.get("d").await.headers()["etag"].clone();
    let get = |path: &str| app.request("GET", path).bearer_auth(user());
    let post = |body: &'static str| app.submission(&admin(), body);
    let mut room = app.backbone.ingest.in_flight.empty();
    room.cover(17_825_792 - 100).unwrap();
    let busy = post(EVENT).body(format!("{EVENT}{}", " ".repeat(1000)));
    let overloaded = from(busy, PAGE).send().await.unwrap();
    drop(room);
    // All that another subject may send at once.
    let bob = devstack::token::hs256(SECRET, "bob", &["admin"], &[], Duration::from_secs(60)).unwrap();
    let many = || batch(&app, &bob, "application/json", format!("[{}]", vec![EVENT; 20].join(",")));
    assert_eq!(many().send().await.unwrap().status(), 202);
    let answers = [
        (200, get("/resource/d")),
        (304, get("/resource/d").header("if-none-match", tag)),
        (200, get("/resource/d/events")),
        (200, app.request("GET", "/openapi.json")),
        (202, post(EVENT)),
        (400, post("{")),
        (400, get("/resource/d/events?limit=0")),
        (401, app.request("GET", "/resource/d")),
        (401, app.request("POST", "/events").body(EVENT)),
        (403, app.request("GET", "/resource/d").bearer_auth(token(&["device"], &["other"]))),
        (404, get("/resource/none")),
        (404, get("/nowhere")),
        (405, app.request("PUT", "/events")),
        (413, post(EVENT).body(" ".repeat(300 * 1024))),
        (415, post(EVENT).header("content-encoding", "br")),
        (422, post("{}")),
        (429, many()),
    ];
    let mut seen = vec![(503, overloaded)];
    for (status, request) in answers {
        seen.push((status, from(request, PAGE).send().await.unwrap()));
    }
    for (status, answer) in seen {
        assert_eq!(answer.status(), status, "{}", answer.url());
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "{status}");
        let exposed: Vec<_> = header(&answer, "access-control-expose-headers").unwrap().split(',').collect();
        for name in [
            "etag",
            "location",
            "cache-status",
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "x-request-id",
            "link",
            "allow",
            "idempotent-replayed",
            "x-revision",
            "www-authenticate",
            "preference-applied",
        ] {
            assert!(exposed.contains(&name), "{status}: {name} in {exposed:?}");
        }
        let mut vary = answer.headers().get_all("vary").iter();
        assert!(vary.any(|value| value.to_str().unwrap().contains("origin")), "{status}");
        if status == 429 || status == 503 {
            assert!(header(&answer, "retry-after").is_some(), "{status}");
        }
        // As without CORS otherwise.
        if status >= 400 {
            problem(answer).await;
        } else {
            checked(answer).await;
        }
    }
    // Other origins, and callers that are no pages, get the same answer without the permission.
    let other = from(get("/resource/d"), "https://other.example").send().await.unwrap();
    assert_eq!((other.status().as_u16(), header(&other, "access-control-allow-origin")), (200, None));
    let none = app.get("d").await;
    assert_eq!((none.status().as_u16(), header(&none, "access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn localhost_is_every_port_of_this_machine() {
    let app = TestApp::with("cors_localhost", &["--cors-origins=localhost"]).await;
    for (origin, is_allowed) in [
        ("http://localhost:5173", true),
        ("https://127.0.0.1:8443", true),
        ("http://[::1]", true),
        ("http://localhost.example", false),
        (PAGE, false),
    ] {
        let answer = from(app.request("GET", "/health/live"), origin).send().await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), is_allowed.then_some(origin));
    }
}
