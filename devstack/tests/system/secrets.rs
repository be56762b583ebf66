//! A secret that is planted in every secret setting shows nowhere: not in the log at its most talkative,
//! in `--help`, in errors of the start, in health, metrics or traces. (Of `Debug`, see
//! `shared/src/config.rs`.)

use std::time::Duration;

use devstack::{Program, Service, Stack, port, token};
use serde_json::json;

use crate::collector::Collector;
use crate::kit::{System, blocking};

/// Every planted secret begins so; it needs no encoding in a URL.
const MARK: &str = "planted7f3a";

fn assert_clean(what: &str, text: &str) {
    let place = text.find(MARK).map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
    assert!(place.is_none(), "{what}: {place:?}");
}

/// `scheme://user:password@rest` of `scheme://[user[:password]@]rest`.
fn with_password(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    format!("{scheme}://{user}:{password}@{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_every_secret_setting_shows_nowhere_while_all_of_it_works() {
    let (collector, endpoint) = Collector::start().await;
    let collector_with_login = with_password(&endpoint, "u", &format!("{MARK}-otlp-url"));
    let stack = move || {
        // Kafka and Redis check their passwords; PostgreSQL takes any.
        let stack = Stack::start_secured(&format!("{MARK}-kafka")).unwrap();
        let redis = stack.endpoints().redis_url;
        let mut client = redis::Client::open(redis.as_str()).unwrap().get_connection().unwrap();
        let () =
            redis::cmd("CONFIG").arg(&["SET", "requirepass", &format!("{MARK}-redis")]).query(&mut client).unwrap();
        let mut settings = stack.kafka.secured().unwrap().env("SCRAM-SHA-512");
        let more = [
            ("REDIS_URL", with_password(&redis, "", &format!("{MARK}-redis"))),
            ("JWT_SECRET", format!("{MARK}-jwt, long enough to be one of ours")),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector_with_login),
            ("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={MARK}-otlp-header")),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("RUST_LOG", "trace".to_owned()),
        ];
        settings.extend(more.map(|(name, value)| (name.to_owned(), value)));
        (stack, settings)
    };
    let system = System::start_on("secrets", stack).await;
    let database = with_password(&system.scope.database_url, "postgres", &format!("{MARK}-postgres"));
    let database = [("DATABASE_URL", database.as_str())];
    let api = system.another_api_with(&database);
    let worker = system.worker_with(&database);
    let secret = format!("{MARK}-jwt, long enough to be one of ours");
    let token = token::hs256(&secret, "test", &["admin"], &[], Duration::from_secs(3600)).unwrap();
    let ready = async || {
        let asked = system.http.get(format!("{}/health/ready", api.base)).send().await;
        match asked {
            Ok(answer) => answer.json::<serde_json::Value>().await.unwrap()["status"] == "ready",
            Err(_) => false,
        }
    };
    system.until("all of it works, with the right secrets", ready).await;
    let post = system.http.post(format!("{}/events", api.base)).bearer_auth(&token);
    let post = post.json(&json!({"device_id": "d", "payload": {}})).send().await.unwrap();
    assert_eq!(post.status(), 202);
    let read = async || {
        let get = system.http.get(format!("{}/resource/d", api.base)).bearer_auth(&token).send().await.unwrap();
        assert_clean("an answer's headers", &format!("{:?}", get.headers()));
        let status = get.status();
        assert_clean("an answer", &get.text().await.unwrap());
        status == 200
    };
    system.until("it can be read", read).await;
    system
        .until("there are traces of both", async || {
            ["api-service", "worker-service"]
                .iter()
                .all(|name| collector.spans().iter().any(|span| span.service == *name))
        })
        .await;
    assert!(collector.headers().iter().all(|headers| headers["x-key"] == format!("{MARK}-otlp-header")), "it is used");
    assert!(!collector.holds(MARK), "traces");

    for address in
        [format!("{}/health/ready", api.base), format!("{}/health/ready", api.ops), format!("{}/metrics", api.ops)]
    {
        assert_clean(&address, &system.http.get(&address).send().await.unwrap().text().await.unwrap());
    }
    assert_clean("the worker's metrics", &worker.metrics().await);
    assert_clean("the worker's health", &worker.health().await.unwrap().to_string());

    // Everything goes away at once: what is said of it then is the richest.
    system.stack.postgres.stop().unwrap();
    system.stack.redis.stop().unwrap();
    system.stack.kafka.stop().unwrap();
    let unready = async || {
        let asked = system.http.get(format!("{}/health/ready", api.base)).send().await.unwrap();
        let status = asked.status();
        assert_clean("health", &asked.text().await.unwrap());
        status == 503
    };
    system.until("the API notices", unready).await;
    let event = json!({"device_id": "d", "payload": {}});
    let post = system.http.post(format!("{}/events", api.base)).bearer_auth(&token).json(&event).send().await.unwrap();
    assert_eq!(post.status(), 503);
    assert_clean("a problem", &post.text().await.unwrap());
    assert_clean("the worker's health", &worker.health().await.unwrap().to_string());
    api.service.terminate().unwrap();
    worker.service.terminate().unwrap();
    let services = [api.service, worker.service];
    let logs = blocking(move || {
        services.map(|service| {
            let _ = service.wait(Duration::from_secs(40));
            service.log()
        })
    })
    .await;
    for log in logs {
        assert!(log.contains("TRACE"), "it is at its most talkative");
        assert_clean("a log", &log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_without_the_secret() {
    let nobody = port::free();
    let all: Vec<(&str, String)> = vec![
        ("KAFKA_BROKERS", format!("localhost:{nobody}")),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".into()),
        ("KAFKA_SASL_USERNAME", "u".into()),
        ("KAFKA_SASL_PASSWORD", format!("{MARK}-kafka")),
        ("DATABASE_URL", format!("postgres://u:{MARK}-postgres@localhost:{nobody}/d")),
        ("REDIS_URL", format!("redis://:{MARK}-redis@localhost:{nobody}")),
        ("JWT_SECRET", format!("{MARK}-jwt, long enough to be one of ours")),
        ("JWT_JWKS_URL", format!("https://localhost:{nobody}/{MARK}-jwks")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://u:{MARK}-otlp@localhost:{nobody}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={MARK}-otlp")),
        ("OPS_BIND", "127.0.0.1:0".into()),
        ("API_BIND", "127.0.0.1:0".into()),
        ("RUST_LOG", "trace".into()),
        ("DRAIN_DELAY", "0s".into()),
    ];
    // Each wrong in its own way, beside a planted secret.
    let wrong = [
        ("DATABASE_URL", format!("postgres://u:{MARK}-postgres@[host/d")),
        ("DATABASE_URL", format!("{MARK}-postgres")),
        ("DATABASE_URL", format!("postgres://u:{MARK}-postgres@localhost:port/d")),
        ("DATABASE_URL", format!("postgres://u:{MARK}@localhost/d?sslmode={MARK}")),
        ("REDIS_URL", format!("redis://:{MARK}-redis@localhost:port")),
        ("REDIS_URL", format!("{MARK}-redis")),
        ("JWT_SECRET", MARK.into()),
        ("JWT_JWKS_URL", format!("http://example.org/{MARK}-jwks")),
        ("JWT_JWKS_URL", format!("https://u:{MARK}@example.org/")),
        ("JWT_JWKS_URL", format!("{MARK}-jwks")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{MARK}-otlp")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("ftp://u:{MARK}@localhost")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("{MARK}-otlp")),
        ("KAFKA_SASL_MECHANISM", "GSSAPI".into()),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT".into()),
        ("KAFKA_SSL_CA_LOCATION", "/nowhere".into()),
        ("REDIS_TIMEOUT", "soon".into()),
    ];
    let of_worker = |name: &str| !name.starts_with("JWT_");
    let logs = devstack::target_dir().join("system-logs").join("secrets-start");
    let _ = std::fs::remove_dir_all(&logs);
    std::fs::create_dir_all(&logs).unwrap();
    let (logs, all) = (&logs, &all);
    let run = |number: usize, program: Program, args: &'static [&'static str], change: Option<(&str, String)>| {
        let mut env: Vec<_> = all.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        env.extend(change.map(|(name, value)| (name.to_owned(), value)));
        let service = Service::spawn(program, args, &env, &logs.join(format!("{number}-{}", program.name()))).unwrap();
        (service, number)
    };
    let mut ended = Vec::new();
    for (number, (name, value)) in wrong.iter().enumerate() {
        let of_both: [(Program, &[&str]); 2] = [(Program::Api, &[]), (Program::Worker, &["run"])];
        for (program, args) in of_both {
            if program == Program::Api || of_worker(name) {
                ended.push((
                    run(number, program, args, Some((name, value.clone()))),
                    format!("{} with a wrong {name}", program.name()),
                ));
            }
        }
    }
    let help: [(Program, &[&str]); 7] = [
        (Program::Api, &["--help"]),
        (Program::Worker, &["run", "--help"]),
        (Program::Worker, &["setup", "--help"]),
        (Program::Worker, &["dlq", "redrive", "--help"]),
        (Program::Worker, &["seek", "--help"]),
        (Program::Worker, &["forget", "--help"]),
        (Program::Worker, &["resume", "--help"]),
    ];
    for (number, (program, args)) in help.into_iter().enumerate() {
        ended.push((run(100 + number, program, args, None), format!("{} {args:?}", program.name())));
    }
    // Those that need somebody who is not there.
    let commands: [&[&str]; 4] = [&["setup"], &["resume"], &["dlq", "list"], &["forget", "d"]];
    for (number, args) in commands.into_iter().enumerate() {
        ended.push((run(200 + number, Program::Worker, args, None), format!("worker-service {args:?}")));
    }
    for ((service, number), what) in ended {
        let (status, log) = blocking(move || (service.wait(Duration::from_secs(120)), service.log())).await;
        let status = status.unwrap_or_else(|error| panic!("{what}: {error}\n{log}"));
        assert_eq!(status.success(), (100..200).contains(&number), "{what}: {log}");
        assert!(!log.is_empty(), "{what} says nothing");
        assert_clean(&what, &log);
    }

    // Both start without anybody there, and say so for as long as it takes.
    let both = [run(300, Program::Api, &[], None).0, run(300, Program::Worker, &["run"], None).0];
    tokio::time::sleep(Duration::from_secs(10)).await;
    for service in both {
        assert!(service.is_running(), "{}", service.log());
        assert!(service.log().contains("ERROR"), "it says what is away: {}", service.log());
        assert_clean("a log", &service.log());
    }
}
