//! The history of a device, newest event first.

use shared::devices::decode;

use crate::prelude::*;

pub(crate) async fn history(app: &TestApp, token: &str, query: &str) -> Response {
    app.request("GET", &format!("/resource/d/events{query}")).bearer_auth(token).send().await.unwrap()
}

/// Sends `count` events of the device; the one with the highest number is the newest.
pub(crate) async fn report(app: &TestApp, first: usize, count: usize, size: usize) {
    let event = |n| {
        let payload = format!(r#"{{"n":{n},"x":"{}"}}"#, "y".repeat(size));
        // Ids in another order than the times.
        devstack::kit::event("d").id(format!("e-{:03}", 999 - n)).payload(payload).json()
    };
    let events: Vec<_> = (first..first + count).map(event).collect();
    let body = format!("[{}]", events.join(","));
    assert_eq!(batch(app, &admin(), "application/json", body).send().await.unwrap().status(), 202);
}

fn numbers(page: &Value) -> Vec<u64> {
    page["items"].as_array().unwrap().iter().map(|item| item["payload"]["n"].as_u64().unwrap()).collect()
}

/// The numbers of all events, read in pages of this size.
async fn read_through(app: &TestApp, limit: usize) -> Vec<u64> {
    let (mut query, mut seen) = (format!("?limit={limit}"), Vec::new());
    while seen.len() < 100 {
        let text = history(app, &user(), &query).await.error_for_status().unwrap().text().await.unwrap();
        assert!(text.len() < 4 * 1024 * 1024 + 300_000, "{}", text.len());
        let page: Value = serde_json::from_str(&text).unwrap();
        seen.extend(numbers(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit={limit}&before={next}");
    }
    seen
}

#[tokio::test]
async fn pages_follow_each_other_whatever_is_added() {
    let app = TestApp::start("history").await;
    report(&app, 0, 7, 1).await;
    work(&app, 7).await;
    let first = history(&app, &user(), "?limit=3").await;
    assert_eq!(
        (first.status().as_u16(), &first.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    let first: Value = first.json().await.unwrap();
    assert_eq!(numbers(&first), [6, 5, 4]);
    let next = first["next"].as_str().unwrap();
    assert_eq!(link, format!(r#"</resource/d/events?limit=3&before={next}>; rel="next""#));

    report(&app, 7, 2, 1).await;
    work(&app, 9).await;
    let path = link.split(['<', '>']).nth(1).unwrap();
    let second: Value = app.request("GET", path).bearer_auth(admin()).send().await.unwrap().json().await.unwrap();
    assert_eq!(numbers(&second), [3, 2, 1], "what is new does not move it");
    let last = history(&app, &user(), &format!("?before={}&limit=3", second["next"].as_str().unwrap())).await;
    assert!(!last.headers().contains_key("link"));
    let last: Value = last.json().await.unwrap();
    assert_eq!((numbers(&last), &last["next"]), (vec![0], &Value::Null));

    let all: Value = history(&app, &user(), "").await.json().await.unwrap();
    assert_eq!(numbers(&all), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let exact: Value = history(&app, &user(), "?limit=9").await.json().await.unwrap();
    assert_eq!((numbers(&exact).len(), &exact["next"]), (9, &Value::Null));
}

#[tokio::test]
async fn an_event_as_it_is_told() {
    let app = TestApp::start("history_event").await;
    let body =
        r#"{"device_id":"d","event_id":"e-1","occurred_at":"2026-01-02T03:04:05.5+01:00","payload":{"b":1.0,"a":[]}}"#;
    app.submission(&admin(), body).header("x-request-id", "r:1").send().await.unwrap().error_for_status().unwrap();
    work(&app, 1).await;
    let text = history(&app, &user(), "").await.text().await.unwrap();
    let accepted = text.split(r#""accepted_at":""#).nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(accepted.len(), "2026-01-02T02:04:05.500000Z".len());
    let expected = format!(
        r#"{{"items":[{{"event_id":"e-1","type":"io.edge.device.reported.v1","occurred_at":"2026-01-02T02:04:05.500000Z","accepted_at":"{accepted}","outcome":"applied","request_id":"r:1","payload":{{"a": [], "b": 1.0}}}}],"next":null}}"#
    );
    assert_eq!(text, expected, "the payload as PostgreSQL has it");
}

#[tokio::test]
async fn a_page_of_large_events_ends_early_and_goes_on() {
    let app = TestApp::start("history_large").await;
    for first in [0, 20] {
        report(&app, first, 20, 250_000).await;
    }
    work(&app, 40).await;
    assert_eq!(read_through(&app, 200).await, (0..40).rev().collect::<Vec<_>>());
}

/// A payload that is short in the database may be long as JSON.
#[tokio::test]
async fn nothing_is_rendered_that_is_not_told() {
    let app = TestApp::start("history_rendered").await;
    report(&app, 0, 20, 250_000).await;
    work(&app, 20).await;
    let pool = sqlx::PgPool::connect(&app.scope.database_url).await.unwrap();
    // After the first page: a row that cannot be rendered, because its text exceeds PostgreSQL's limit.
    sqlx::raw_sql(
        "UPDATE events SET accepted_at = accepted_at - interval '1 day',
           payload = (SELECT jsonb_build_object('n', (SELECT jsonb_agg('1e131000'::numeric) FROM generate_series(1, 9000))))
         WHERE event_id = 'e-999'",
    )
    .execute(&pool)
    .await
    .unwrap();
    let page: Value = history(&app, &user(), "?limit=200").await.error_for_status().unwrap().json().await.unwrap();
    assert_eq!(numbers(&page), (3..20).rev().collect::<Vec<_>>());
    let next = page["next"].as_str().unwrap();
    let rest = history(&app, &user(), &format!("?limit=2&before={next}")).await;
    let rest: Value = rest.error_for_status().unwrap().json().await.unwrap();
    assert_eq!(numbers(&rest), [2, 1], "that there is more is known without it");
    let next = rest["next"].as_str().unwrap();
    assert_eq!(history(&app, &user(), &format!("?before={next}")).await.status(), 503, "here it had to be rendered");
}

/// Producers set `ce_acceptedat`, and a producer's clock may be far ahead or behind.
#[tokio::test]
async fn a_cursor_that_is_given_is_taken_whenever_its_event_was_accepted() {
    let app = TestApp::start("history_years").await;
    report(&app, 0, 6, 1).await;
    let mut decoded: Vec<_> = records(&app, 6).await.iter().map(|record| decode(record).unwrap()).collect();
    let years = [-4700, -1, 1969, 5139, 9000, 9999];
    for (event, year) in decoded.iter_mut().zip(years) {
        event.envelope.accepted_at = event.envelope.accepted_at.replace_year(year).unwrap();
    }
    queries::apply_batch(&app.store(), &decoded.iter().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(read_through(&app, 1).await, [5, 4, 3, 2, 1, 0]);
}

/// Eight events, one each hour; the one with the highest number is the newest.
async fn hourly(name: &str) -> TestApp {
    let app = TestApp::start(name).await;
    report(&app, 0, 8, 1).await;
    let mut decoded: Vec<_> = records(&app, 8).await.iter().map(|record| decode(record).unwrap()).collect();
    decoded.sort_by(|one, other| other.envelope.id.as_str().cmp(one.envelope.id.as_str()));
    for (event, hour) in decoded.iter_mut().zip(0..) {
        event.envelope.accepted_at = time::macros::datetime!(2026-01-02 00:00 UTC).replace_hour(hour).unwrap();
    }
    queries::apply_batch(&app.store(), &decoded.iter().collect::<Vec<_>>()).await.unwrap();
    app
}

#[tokio::test]
async fn from_and_to_are_times_of_acceptance_and_hold_on_every_page() {
    let app = hourly("history_times").await;
    let read = async |query: &str| {
        let (status, headers, body) = checked(history(&app, &user(), query).await).await;
        assert_eq!(status, 200, "{query}");
        let link = headers.get("link").map(|link| link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned());
        (numbers(&serde_json::from_slice(&body).unwrap()), link)
    };
    for (query, expected) in [
        ("?from=2026-01-02T05:00:00Z", vec![7, 6, 5]),
        ("?to=2026-01-02T02:00:00Z", vec![1, 0]),
        ("?from=2026-01-02T03:00:00%2B01:00&to=2026-01-02T03:00:00.000001Z", vec![3, 2]),
        ("?from=2026-01-02T03:00:00Z&to=2026-01-02T03:00:00Z", vec![]),
        ("?from=2027-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(read(query).await, (expected, None), "{query}");
    }
    let (first, next) = read("?from=2026-01-02T02:00:00Z&to=2026-01-02T07:00:00Z&limit=2").await;
    let (mut seen, mut next) = (first, next.unwrap());
    for last in [false, true] {
        let query = next.split_once("/events").unwrap().1.to_owned();
        let (more, link) = read(&query).await;
        seen.extend(more);
        assert_eq!(link.is_none(), last, "{link:?}");
        next = link.unwrap_or_default();
    }
    assert_eq!(seen, [6, 5, 4, 3, 2]);
    let backwards = history(&app, &user(), "?from=2026-01-02T02:00:00Z&to=2026-01-02T01:00:00Z").await;
    assert_eq!(problem(backwards).await["detail"], "from must not be later than to");
    // A device without any event.
    let nobody = app.request("GET", "/resource/none/events?from=2026-01-02T02:00:00Z").bearer_auth(user());
    let (status, _, body) = checked(nobody.send().await.unwrap()).await;
    assert_eq!((status, &*body), (200, &br#"{"items":[],"next":null}"#[..]));
}

#[tokio::test]
async fn only_the_fields_that_are_asked_for_as_json_and_as_csv() {
    let app = hourly("history_fields").await;
    let page = history(&app, &user(), "?limit=2&fields=/n,/none").await;
    assert_eq!(page.headers()["vary"], "accept");
    let link = page.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.ends_with("&fields=%2Fn%2C%2Fnone>; rel=\"next\""), "{link}");
    let page: Value = serde_json::from_slice(&checked(page).await.2).unwrap();
    let payloads = [&page["items"][0]["payload"], &page["items"][1]["payload"]];
    assert_eq!(payloads, [&json!({"n": 7}), &json!({"n": 6})]);
    assert_eq!(page["items"][0]["accepted_at"], "2026-01-02T07:00:00.000000Z");

    let csv = async |query: &str| {
        let path = format!("/resource/d/events{query}");
        let request = app.request("GET", &path).bearer_auth(user()).header("accept", "text/csv; charset=utf-8");
        let (status, headers, body) = checked(request.send().await.unwrap()).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (200, &"text/csv; charset=utf-8; header=present".parse().unwrap())
        );
        (String::from_utf8(body.to_vec()).unwrap(), headers.contains_key("link"))
    };
    let (text, more) = csv("?limit=1&fields=/n,/x").await;
    let (names, row) = text.strip_suffix("\r\n").unwrap().split_once("\r\n").unwrap();
    assert_eq!(names, r#""event_id","type","occurred_at","accepted_at","outcome","request_id","/n","/x""#);
    assert!(row.starts_with(r#""e-992","io.edge.device.reported.v1","#) && row.ends_with(r#",7,"y""#), "{row}");
    assert!(more, "the next page is in the header");
    let (text, more) = csv("?from=2027-01-01T00:00:00Z").await;
    assert_eq!((text.lines().count(), more), (1, false), "{text}");
    assert!(csv("").await.0.contains(r#""{""n"": 7, ""x"": ""y""}""#), "a payload as JSON");
    let none = app.request("GET", "/resource/none/events").bearer_auth(user()).header("accept", "text/csv");
    assert_eq!(problem(none.send().await.unwrap()).await["code"], "resource_not_found", "errors stay JSON");
}

/// Arrays whose elements come before the one that is asked for, and are null: longer than the events.
#[tokio::test]
async fn a_page_of_parts_ends_early_and_goes_on_too() {
    let app = TestApp::start("history_parts").await;
    let zeros = vec!["0"; 120_000].join(",");
    for n in 0..9 {
        let event = devstack::kit::event("d").id(format!("e-{n}")).payload(format!(r#"{{"a":[{zeros}]}}"#)).json();
        assert_eq!(app.submission(&admin(), event).send().await.unwrap().status(), 202);
    }
    work(&app, 9).await;
    let (mut query, mut sizes) = ("?limit=1000&fields=/a/119999".to_owned(), Vec::new());
    loop {
        let (status, headers, body) = checked(history(&app, &user(), &query).await).await;
        assert_eq!(status, 200, "{query}");
        assert!(body.len() < 5 * 1024 * 1024, "{}", body.len());
        let page: Value = serde_json::from_slice(&body).unwrap();
        sizes.push(page["items"].as_array().unwrap().len());
        let Some(link) = headers.get("link") else { break };
        query = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().split_once("/events").unwrap().1.to_owned();
    }
    assert_eq!(sizes, [7, 2]);
}

#[tokio::test]
async fn what_is_asked_for_and_what_is_refused() {
    let app = TestApp::start("history_bad").await;
    report(&app, 0, 1, 1).await;
    work(&app, 1).await;
    let both = token(&["device", "user"], &["other"]);
    let (deep, endless) = (format!("?fields={}", "/a".repeat(65)), format!("?fields={}", "/".repeat(20_000)));
    // A cursor before every event.
    let behind = "?before=0.e";
    let table = [
        ("an admin", admin(), "?limit=200", 200, ""),
        ("a device that is a user too", both, "", 200, ""),
        ("nothing behind the cursor", user(), behind, 200, ""),
        ("nothing far behind it", user(), "?before=-999999999999999999.e", 200, ""),
        ("far ahead of it", user(), "?before=999999999999999999.e", 200, ""),
        ("a limit of none", user(), "?limit=0", 400, "bad_request"),
        ("too great a limit", user(), "?limit=1001", 400, "bad_request"),
        ("no cursor", user(), "?before=nonsense", 400, "bad_request"),
        ("a parameter twice", user(), "?limit=1&limit=1", 400, "bad_request"),
        ("a parameter of others", user(), "?after=0.e&_=1", 200, ""),
        ("no time", user(), "?from=now", 400, "bad_request"),
        ("no pointer", user(), "?fields=n", 400, "bad_request"),
        ("a pointer as deep as a payload may be", user(), &deep[..deep.len() - 2], 200, ""),
        ("a deeper one", user(), &deep, 400, "bad_request"),
        ("one that never ends", user(), &endless, 400, "bad_request"),
        ("a part twice", user(), "?fields=/n,/x,/n", 400, "bad_request"),
        ("a part of a part", user(), "?fields=/n,/n/x", 400, "bad_request"),
    ];
    for (what, token, query, status, code) in table {
        let response = history(&app, &token, query).await;
        assert_eq!(response.status(), status, "{what}");
        if status != 200 {
            assert_eq!(problem(response).await["code"], code, "{what}");
        }
    }
    for path in ["/resource/none/events", "/resource/a%20/events"] {
        let response = app.request("GET", path).bearer_auth(user()).send().await.unwrap();
        assert_eq!(problem(response).await["code"], "resource_not_found", "{path}");
    }
}
