//! Neither service ever logs a payload, a token or a secret, at whatever level, and whatever goes
//! wrong: it is planted everywhere, and looked for in all that they write.

use std::process::Command;
use std::time::Duration;

use devstack::logs::{PLANTED, told};
use devstack::{Program, Scope, Service, binaries, port, token};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::kit::{PATIENCE, System, blocking};

/// What must be known of a service's log before it says anything that it is clean.
fn assert_clean(what: &str, log: &str, says: &[&str]) {
    for says in says {
        assert!(log.contains(says), "{what} does not say {says}");
    }
    for (number, line) in log.lines().enumerate() {
        assert_eq!(told(line), None, "{what}, line {}: {line}", number + 1);
    }
}

/// Puts a record on the input topic as anybody could.
async fn put(system: &System, key: &str, value: &str, headers: &[(&str, &str)]) {
    let brokers = &system.scope.endpoints.kafka_brokers;
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let mut all = OwnedHeaders::new();
    for (key, value) in headers {
        all = all.insert(Header { key, value: Some(*value) });
    }
    let record = FutureRecord::to(&system.scope.input_topic).key(key).payload(value).headers(all);
    producer.send(record, PATIENCE).await.unwrap();
}

/// Requests that come to every end that there is while all servers run.
async fn ask(system: &System) {
    let request = |method: &str, path: &str| {
        system.http.request(method.parse().unwrap(), format!("{}{path}", system.base)).bearer_auth(&system.token)
    };
    let post = |body: String| request("POST", "/events").header("content-type", "application/json").body(body);
    let signed = |secret: &str, roles: &[&str], devices: &[&str]| {
        token::hs256(secret, PLANTED, roles, devices, Duration::from_secs(60)).unwrap()
    };
    let good = format!(r#"{{"device_id":"d","event_id":"e-1","payload":{{"x":"{PLANTED}"}}}}"#);
    let with = |token: String| {
        let request = system.http.post(format!("{}/events", system.base)).bearer_auth(token);
        request.header("content-type", "application/json").body(good.clone())
    };
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
        (system.http.get(format!("{}/resource/d", system.base)).basic_auth(PLANTED, Some(PLANTED)), 401),
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
        (request("GET", "/resource/d").header("x", PLANTED.repeat(2000)), 431),
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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_planted_is_ever_logged() {
    let settings = [
        ("RUST_LOG", "trace"),
        ("ACCESS_LOG", "all"),
        ("KAFKA_MESSAGE_TIMEOUT", "2s"),
        ("REQUEST_TIMEOUT", "5s"),
        ("DATABASE_TIMEOUT", "2s"),
        ("JWT_DEVICE_BINDING", "claimed"),
    ];
    let system = System::start("planted", &settings).await;
    // What PostgreSQL then says of a row quotes it whole, in its DETAIL; and a value in its message.
    system.sql("ALTER TABLE resources ADD CONSTRAINT no_failing CHECK (payload->>'fail' IS NULL)");
    system.sql(
        "CREATE FUNCTION cast_it() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.payload ? ''number'' THEN PERFORM (NEW.payload->>''number'')::int; END IF; RETURN NEW; END'; \
         CREATE TRIGGER cast_it BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION cast_it()",
    );
    let worker = system.worker();
    ask(&system).await;

    // Events that fail, and records that are none.
    system.post("failing", "f-1", &json!({"fail": true})).await.unwrap();
    system.post("numbers", "n-1", &json!({"number": PLANTED})).await.unwrap();
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
        put(&system, key, value, headers).await;
    }
    let letters = poison.len() as i64 + 2;
    system.until("all of them are dead letters", async || system.dead_letters().await == letters).await;

    // Commands of the operators, but for the one that shows a letter.
    let env = system.scope.env();
    let list = blocking(move || {
        let run = |args: &[&str]| {
            let mut command = Command::new(binaries().unwrap().join("worker-service"));
            let output = command.args(args).envs(env.iter().cloned()).env("RUST_LOG", "trace").output().unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        };
        run(&["dlq", "list"]) + &run(&["dlq", "redrive", "--dry-run"])
    });
    assert_clean("worker-service dlq", &list.await, &["no_failing", "22P02", "f-1"]);

    // Each server goes away under load.
    let good = async |status: u16| {
        assert_eq!(system.post("d", "e-3", &json!({})).await.unwrap().status(), status);
    };
    system.stack.redis.stop().unwrap();
    good(202).await;
    assert_eq!(system.get("d").await.unwrap().status(), 200);
    system.stack.postgres.stop().unwrap();
    good(202).await;
    assert_eq!(system.get("d").await.unwrap().status(), 503);
    system.until("the worker says so", async || worker.status().await == "waiting out an outage").await;
    system.stack.kafka.stop().unwrap();
    good(503).await;
    let System { api, stack, .. } = std::sync::Arc::into_inner(system).unwrap();
    let (api_log, worker_log) = blocking(move || {
        for service in [&api, &worker.service] {
            service.terminate().unwrap();
            service.wait(PATIENCE).unwrap();
        }
        drop(stack);
        (api.log(), worker.service.log())
    })
    .await;
    let statuses =
        [200, 202, 207, 400, 401, 403, 404, 413, 415, 422, 431, 503].map(|status| format!("\"status\":{status}"));
    let says: Vec<&str> = statuses.iter().map(String::as_str).collect();
    assert_clean("api-service", &api_log, &[&says[..], &["TRACE", "outcome_unknown", "store_unavailable"]].concat());
    assert_clean("worker-service", &worker_log, &["TRACE", "no_failing", "22P02", "the key is not the subject"]);
}

/// A password of SASL that is really used, and refused, and the addresses of keys.
#[test]
fn nor_is_what_is_used_to_log_in_elsewhere() {
    let scope = Scope::new("planted_sasl").unwrap();
    let folder = devstack::target_dir().join("system-logs").join("planted_sasl");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    // The worker begins with its schema.
    let setup = Service::spawn(Program::Worker, &["setup"], &scope.env(), &folder.join("setup")).unwrap();
    assert!(setup.wait(PATIENCE).unwrap().success(), "{}", setup.log());
    let jwks = format!("http://127.0.0.1:{}/jwks?key={PLANTED}", port::free());
    for program in [Program::Api, Program::Worker] {
        let mut env = scope.env();
        let (bind, ops) = (format!("127.0.0.1:{}", port::free()), format!("127.0.0.1:{}", port::free()));
        env.extend(
            [
                ("API_BIND", &*bind),
                ("OPS_BIND", &ops),
                ("RUST_LOG", "trace"),
                ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
                ("KAFKA_SASL_USERNAME", "somebody"),
                ("KAFKA_SASL_PASSWORD", PLANTED),
                ("JWT_JWKS_URL", &jwks),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let args: &[&str] = if program == Program::Worker { &["run"] } else { &[] };
        let service = Service::spawn(program, args, &env, &folder.join(program.name())).unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        while service.is_running() && !service.log().contains("SASL") {
            assert!(std::time::Instant::now() < deadline, "{}", service.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        service.terminate().unwrap();
        service.wait(PATIENCE).unwrap();
        let says: &[&str] =
            if program == Program::Api { &["SASL", "keys of tokens cannot be read"] } else { &["SASL"] };
        assert_clean(program.name(), &service.log(), says);
    }
}

#[test]
fn nor_does_help_show_it() {
    let secrets = ["JWT_SECRET", "JWT_JWKS_URL", "KAFKA_SASL_PASSWORD", "DATABASE_URL", "REDIS_URL"];
    for (program, args) in [
        ("api-service", &["--help"][..]),
        ("worker-service", &["--help"]),
        ("worker-service", &["run", "--help"]),
        ("worker-service", &["setup", "--help"]),
        ("worker-service", &["dlq", "list", "--help"]),
    ] {
        let mut command = Command::new(binaries().unwrap().join(program));
        let output = command.args(args).env_clear().envs(secrets.map(|name| (name, PLANTED))).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_clean(program, &said, &["Usage"]);
    }
}
