//! A failed start reports the reason without any secret; `--help` does not show one either.

use devstack::kit::until;
use devstack::{Program, Service, port};

use crate::prelude::*;

/// The prefix of every marked secret; it needs no encoding in a URL.
const MARK: &str = "planted7f3a";

fn assert_clean(what: &str, text: &str) {
    let place = text.find(MARK).map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
    assert!(place.is_none(), "{what}: {place:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_and_a_help_say_what_they_have_to_without_the_secret() {
    let nobody = port::free();
    let all: Vec<(&str, String)> = vec![
        ("KAFKA_BROKERS", format!("localhost:{nobody}")),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".into()),
        ("KAFKA_SASL_USERNAME", "u".into()),
        ("KAFKA_SASL_PASSWORD", format!("{MARK}-kafka")),
        ("DATABASE_URL", format!("postgres://u:{MARK}-postgres@localhost:{nobody}/d")),
        ("REDIS_URL", format!("redis://:{MARK}-redis@localhost:{nobody}")),
        ("JWT_SECRET", format!("{MARK}-jwt, long enough to be one of ours")),
        ("JWT_SECRET_PREVIOUS", format!("{MARK}-jwt, the one that was ours before it")),
        ("JWT_JWKS_URL", format!("https://localhost:{nobody}/{MARK}-jwks")),
        ("INTERNAL_JWT_SECRET", format!("{MARK}-internal, long enough to be one of ours")),
        ("FILES_URL", format!("file://{}/secrets-files", devstack::target_dir().display())),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://u:{MARK}-otlp@localhost:{nobody}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={MARK}-otlp")),
        ("OPS_BIND", "127.0.0.1:0".into()),
        ("API_BIND", "127.0.0.1:0".into()),
        ("RUST_LOG", "trace".into()),
        ("DRAIN_DELAY", "0s".into()),
    ];
    // Each is invalid in its own way and contains a marked secret.
    let wrong = [
        ("DATABASE_URL", format!("postgres://u:{MARK}-postgres@[host/d")),
        ("DATABASE_URL", format!("{MARK}-postgres")),
        ("DATABASE_URL", format!("postgres://u:{MARK}-postgres@localhost:port/d")),
        ("DATABASE_URL", format!("postgres://u:{MARK}@localhost/d?sslmode={MARK}")),
        ("REDIS_URL", format!("redis://:{MARK}-redis@localhost:port")),
        ("REDIS_URL", format!("{MARK}-redis")),
        ("JWT_SECRET", MARK.into()),
        ("JWT_SECRET_PREVIOUS", MARK.into()),
        ("INTERNAL_JWT_SECRET", MARK.into()),
        ("VALIDATION_URL", format!("http://u:{MARK}@example.org/")),
        ("JWT_JWKS_URL", format!("http://example.org/{MARK}-jwks")),
        ("JWT_JWKS_URL", format!("https://u:{MARK}@example.org/")),
        ("JWT_JWKS_URL", format!("{MARK}-jwks")),
        ("KAFKA_SASL_MECHANISM", "GSSAPI".into()),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT".into()),
        ("KAFKA_SSL_CA_LOCATION", "/nowhere".into()),
        ("REDIS_TIMEOUT", "soon".into()),
    ];
    // An invalid OpenTelemetry setting only causes a warning, and the start continues.
    let warned = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{MARK}-otlp")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("ftp://u:{MARK}@localhost")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("{MARK}-otlp")),
    ];
    let of_worker = |name: &str| !["JWT_", "INTERNAL_JWT_", "VALIDATION_"].iter().any(|of| name.starts_with(of));
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
    let of_both: [(Program, &[&str]); 2] = [(Program::Api, &[]), (Program::Worker, &["run"])];
    let mut ended = Vec::new();
    for (number, (name, value)) in wrong.iter().enumerate() {
        for (program, args) in of_both.into_iter().filter(|(program, _)| *program == Program::Api || of_worker(name)) {
            let what = format!("{} with a wrong {name}", program.name());
            ended.push((run(number, program, args, Some((name, value.clone()))), what));
        }
    }
    ended.push((run(100, Program::Api, &["--help"], None), "api-service --help".to_owned()));
    let help: [&[&str]; 8] = [
        &["--help"],
        &["run", "--help"],
        &["setup", "--help"],
        &["dlq", "list", "--help"],
        &["dlq", "redrive", "--help"],
        &["seek", "--help"],
        &["forget", "--help"],
        &["resume", "--help"],
    ];
    for (number, args) in help.into_iter().enumerate() {
        ended.push((run(101 + number, Program::Worker, args, None), format!("worker-service {args:?}")));
    }
    // Commands that need an unavailable server.
    let resume = &["resume", "--handler=devices"];
    let commands: [&[&str]; 4] = [&["setup"], resume, &["dlq", "list"], &["forget", "d"]];
    for (number, args) in commands.into_iter().enumerate() {
        ended.push((run(200 + number, Program::Worker, args, None), format!("worker-service {args:?}")));
    }
    let warned = warned.iter().enumerate().flat_map(|(number, (name, value))| {
        let change = || Some((*name, value.clone()));
        of_both.map(|(program, args)| (run(400 + number, program, args, change()).0, *name))
    });
    let warned: Vec<_> = warned.collect();
    let both = of_both.map(|(program, args)| run(300, program, args, None).0);
    for ((service, number), what) in ended {
        let (status, log) = blocking(move || (service.wait(TEST_TIMEOUT), service.log())).await;
        let status = status.unwrap_or_else(|error| panic!("{what}: {error}\n{log}"));
        assert_eq!(status.success(), (100..200).contains(&number), "{what}: {log}");
        assert!(!log.is_empty(), "{what} says nothing");
        assert!(!(100..200).contains(&number) || log.contains("Usage"), "{what}: {log}");
        assert_clean(&what, &log);
    }

    // Both start without any server, and keep reporting which servers are unavailable.
    for service in both {
        until("it says what is away", async || service.log().matches("ERROR").count() >= 2).await;
        assert!(service.is_running(), "{}", service.log());
        assert_clean("a log", &service.log());
    }
    for (service, name) in warned {
        let says =
            |line: &str| line.contains("an OpenTelemetry setting is wrong or not supported") && line.contains(name);
        until(&format!("it warns of {name}"), async || service.log().lines().any(says)).await;
        assert!(service.is_running(), "{}", service.log());
        assert_clean("a warning", &service.log());
    }
}
