//! Neither service ever shows a payload, a token or a secret, at any log level and in any fault. The tests put
//! a marker everywhere, including every secret setting, and search for it in all output: logs, health, metrics,
//! problems and traces. (For `Debug`, see `shared/src/runtime/config.rs`.)

use devstack::logs::{PLANTED, told};
use devstack::token;
use reqwest::RequestBuilder;

use crate::kit::owned;
use crate::prelude::*;

/// Checks that a log contains these texts, so that the search means something, and that it is clean.
fn assert_clean(what: &str, log: &str, says: &[&str]) {
    for says in says {
        assert!(log.contains(says), "{what} does not say {says}");
    }
    for (number, line) in log.lines().enumerate() {
        assert_eq!(told(line), None, "{what}, line {}: {line}", number + 1);
    }
}

/// Checks that a text is not empty and is clean.
fn assert_shows_nothing(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what} is empty");
    assert_clean(what, text, &[]);
}

/// Requests with every kind of response that is possible while all servers run.
async fn ask_all(system: &System) {
    let request = |method: &str, path: &str| {
        system.http.request(method.parse().unwrap(), system.api.url(path)).bearer_auth(&system.token)
    };
    let post = |body: String| request("POST", "/events").header("content-type", "application/json").body(body);
    let signed = |secret: &str, roles: &[&str], devices: &[&str]| {
        token::hs256(secret, PLANTED, roles, devices, Duration::from_secs(60)).unwrap()
    };
    let good = format!(r#"{{"device_id":"d","event_id":"e-1","payload":{{"x":"{PLANTED}"}}}}"#);
    let with = |token: String| system.api.post("/events", &token, good.clone());
    let fault = |from: &str, to: &str| post(good.replace(from, to));
    let secret = crate::kit::SECRET;
    let batch =
        |media_type: &str, body: String| request("POST", "/events/batch").header("content-type", media_type).body(body);
    let table: Vec<(RequestBuilder, u16)> = vec![
        (post(good.clone()), 202),
        (post(good.clone()), 202),
        (batch("application/json", format!("[{good},{good}]")), 202),
        (batch("application/x-ndjson", format!("{good}\n{{{PLANTED}\n{{\"payload\":\"{PLANTED}\"}}")), 207),
        (batch("application/json", format!("[{PLANTED}")), 400),
        (post(good.clone()).header("content-encoding", "gzip"), 400),
        (post(good.clone()).header("content-encoding", PLANTED), 415),
        (post(good.clone()).header("content-type", PLANTED), 415),
        (fault("{\"device", PLANTED), 400),
        (fault("\"}}", ""), 400),
        (fault("\"payload\"", &format!("\"{PLANTED}\"")), 422),
        (fault("\"d\"", &format!("\"{PLANTED} \"")), 422),
        (fault("\"e-1\"", &format!("\"{PLANTED} \"")), 422),
        (fault("\"x\":", &format!("\"x\":1e999,\"x\":\"\\u0000{PLANTED}\",\"{PLANTED}\":")), 422),
        (fault(PLANTED, &format!("{PLANTED}{}", "x".repeat(300_000))), 413),
        (with(signed(secret, &["device"], &["other"])), 403),
        (with(signed(secret, &["user"], &[])), 403),
        (with(signed(secret, &[PLANTED], &[])), 403),
        (with(signed("another secret of thirty-two bytes", &["admin"], &[])), 401),
        (with(PLANTED.to_owned()), 401),
        (with(format!("{}x", system.token)), 401),
        (system.http.get(system.api.url("/resource/d")).basic_auth(PLANTED, Some(PLANTED)), 401),
        (request("GET", &format!("/resource/d?token={PLANTED}")).header("cookie", PLANTED), 200),
        (request("GET", &format!("/{PLANTED}?{PLANTED}")), 404),
        (request("GET", &format!("/resource/{PLANTED}%20")), 404),
        (request("GET", "/resource/d/events"), 200),
        (request("GET", &format!("/resource/d/events?before={PLANTED}")), 400),
        (
            request("GET", "/resource/d")
                .header("if-none-match", PLANTED)
                .header("x-request-id", format!("{PLANTED}!")),
            200,
        ),
        (request("GET", "/resource/d").header("traceparent", PLANTED).header("tracestate", PLANTED), 200),
        (request("GET", "/resource/d").header("x", PLANTED.repeat(3000)), 431),
        (
            post(json!({"x": PLANTED}).to_string())
                .header("ce-specversion", "1.0")
                .header("ce-type", "io.edge.device.reported.v1")
                .header("ce-source", format!("/{PLANTED}"))
                .header("ce-id", "e-2")
                .header("ce-subject", "d")
                .header("ce-extension", PLANTED),
            202,
        ),
        (post(json!({"x": PLANTED}).to_string()).header("ce-specversion", PLANTED), 422),
    ];
    system.post("d", "e-0", &json!({})).await.unwrap();
    system.until("there is something to read", async || system.get("d").await.unwrap().status() == 200).await;
    for (request, status) in table {
        let said = format!("{request:?}");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{said}: {}", response.text().await.unwrap());
    }
}

/// Servers that check the marked passwords; PostgreSQL accepts any.
async fn servers() -> Servers {
    let servers = blocking(|| Servers::secured(&format!("{PLANTED}-kafka"))).await;
    // The password in a scope's Redis URL.
    ask(&mut direct(&servers.redis().url()).await, &["CONFIG", "SET", "requirepass", PLANTED]).await.unwrap();
    servers
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_planted_shows_anywhere_while_all_of_it_works_and_when_nothing_does() {
    let (collector, endpoint) = Collector::start().await;
    let servers = servers().await;
    let mut settings = servers.kafka().secured().unwrap().env("SCRAM-SHA-512");
    let more = [
        ("RUST_LOG", "trace"),
        ("ACCESS_LOG", "all"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint.replace("//", &format!("//u:{PLANTED}-otlp@"))),
        ("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-key={PLANTED}-header")),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("KAFKA_MESSAGE_TIMEOUT", "5s"),
        ("REQUEST_TIMEOUT", "10s"),
        ("DATABASE_TIMEOUT", "2s"),
        ("JWT_DEVICE_BINDING", "claimed"),
    ];
    settings.extend(owned(&more));
    let system = System::start_on("planted", servers, settings).await;
    // PostgreSQL's errors then quote the whole row in DETAIL, and a value in the message.
    system.sql("ALTER TABLE resources ADD CONSTRAINT no_failing CHECK (payload->>'fail' IS NULL)").await;
    let cast = system.sql(
        "CREATE FUNCTION cast_it() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.payload ? ''number'' THEN PERFORM (NEW.payload->>''number'')::int; END IF; RETURN NEW; END'; \
         CREATE TRIGGER cast_it BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION cast_it()",
    );
    cast.await;
    let worker = system.worker();
    ask_all(&system).await;

    // Events that fail, and records that are not events.
    system.post("failing", "f-1", &json!({"fail": true})).await.unwrap();
    system.post("numbers", "n-1", &json!({"number": PLANTED})).await.unwrap();
    let letters = poison(&system).await + 2;
    system.until("all of them are dead letters", async || system.dead_letters().await == letters).await;

    // The operators' commands, except the one that shows a letter.
    let (_, listed) = system.command(&["dlq", "list"], &[]).await;
    assert_clean("dlq list", &listed, &["no_failing", "22P02", "f-1"]);
    let (_, sent) = system.command(&["dlq", "redrive", "--dry-run"], &[]).await;
    assert_clean("dlq redrive", &sent, &["f-1"]);

    shown(&system, &collector).await;
    for page in [worker.metrics().await, worker.health().await.to_string()] {
        assert_shows_nothing("the worker's internal port", &page);
    }

    // Stop each server under load: this produces the most detailed messages.
    let event = json!({"device_id": "d", "event_id": "e-3", "payload": {}});
    let post = || system.api.post("/events", &system.token, event.to_string()).send();
    system.servers.redis().stop().unwrap();
    assert_eq!(post().await.unwrap().status(), 202);
    assert_eq!(system.get("d").await.unwrap().status(), 200);
    system.servers.postgres().stop().unwrap();
    assert_eq!(post().await.unwrap().status(), 202);
    assert_eq!(system.get("d").await.unwrap().status(), 503);
    system.until("the worker says so", async || worker.status().await == "waiting out an outage").await;
    system.servers.kafka().stop().unwrap();
    let refused = post().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_shows_nothing("a problem", &refused.text().await.unwrap());
    let unready = async || {
        let (status, said) = system.api.public_ready().await;
        assert_shows_nothing("health", &said.to_string());
        status == 503
    };
    system.until("the API notices", unready).await;
    assert_shows_nothing("the worker's health", &worker.health().await.to_string());
    let System { api, servers, .. } = std::sync::Arc::into_inner(system).unwrap();
    let (api_log, worker_log) = blocking(move || {
        for service in [&api.service, &worker.service] {
            service.terminate().unwrap();
            service.wait(TEST_TIMEOUT).unwrap();
        }
        drop(servers);
        (api.service.log(), worker.service.log())
    })
    .await;
    let statuses = [200, 202, 207, 400, 401, 403, 404, 413, 415, 422, 503].map(|status| format!("\"status\":{status}"));
    let says: Vec<&str> = statuses.iter().map(String::as_str).collect();
    assert_clean(
        "api-service",
        &api_log,
        &[&says[..], &["TRACE", "outcome_unknown", "store_unavailable", "headers_too_large"]].concat(),
    );
    assert_clean("worker-service", &worker_log, &["TRACE", "no_failing", "22P02", "the key is not the subject"]);
}

/// Writes records that are not events to the topic; returns their number.
async fn poison(system: &System) -> i64 {
    let json = [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "p"),
        ("ce_subject", "p"),
        ("ce_type", "io.edge.device.reported.v1"),
    ];
    let structured = [("content-type", "application/cloudevents+json")];
    let poison = [
        ("p", PLANTED.to_owned(), &json[..]),
        ("p", format!(r#"{{"x":"{PLANTED}"#), &json),
        ("p", format!(r#"{{"x":"\u0000{PLANTED}"}}"#), &json),
        ("p", format!(r#"{{"{PLANTED}":1,"{PLANTED}":1}}"#), &json),
        ("another", format!(r#"{{"x":"{PLANTED}"}}"#), &json),
        ("p", format!(r#"{{"data":"{PLANTED}""#), &structured),
        ("p", format!(r#"{{"specversion":"1.0","type":7,"data":{{"x":"{PLANTED}"}}}}"#), &structured),
        ("p", format!(r#"{{"x":"{PLANTED}"}}"#), &[]),
    ];
    for (key, value, headers) in &poison {
        system.put(key, value, headers).await;
    }
    i64::try_from(poison.len()).unwrap()
}

/// Checks the output in normal operation: an answer, health, metrics and traces.
async fn shown(system: &System, collector: &Collector) {
    let event = json!({"device_id": "clean", "payload": {}});
    let post = system.api.post("/events", &system.token, event.to_string());
    assert_eq!(post.send().await.unwrap().status(), 202);
    let read = async || {
        let answer = system.get("clean").await.unwrap();
        let status = answer.status();
        assert_shows_nothing("an answer's headers", &format!("{:?}", answer.headers()));
        assert_shows_nothing("an answer", &answer.text().await.unwrap());
        status == 200
    };
    system.until("it can be read", read).await;
    assert_shows_nothing("readiness", &system.api.health().await.to_string());
    assert_shows_nothing("metrics", &system.api.metrics().await);
    let traced = async || {
        let spans = collector.spans();
        ["api-service", "worker-service"].iter().all(|name| spans.iter().any(|span| span.service == *name))
    };
    system.until("there are traces of both", traced).await;
    let sent = collector.headers();
    assert!(sent.iter().all(|headers| headers["x-key"] == format!("{PLANTED}-header")), "it is used");
    assert!(!collector.holds(PLANTED), "traces");
}
