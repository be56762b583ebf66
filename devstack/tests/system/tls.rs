//! PostgreSQL and Redis with TLS, as in RDS and ElastiCache: certificate and host name are verified, and Redis requires
//! a user and a password.

use devstack::logs::{PLANTED, told};
use devstack::{Certificates, psql};

use crate::kit::owned;
use crate::prelude::*;

const USER: &str = "app";

/// Wrong settings, and the expected error texts.
type Attempt<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// A system on such servers, and their certificates.
async fn start(name: &str) -> (Arc<System>, Certificates) {
    let (servers, certificates) = blocking(|| {
        let certificates = Certificates::make().unwrap();
        let user = format!("{USER} on >{PLANTED}-redis ~* &* +@all");
        let user: Vec<_> = user.split(' ').collect();
        (Servers::with_tls(&certificates, &[&["--user"], &user[..]].concat()), certificates)
    })
    .await;
    let (_, redis) = servers.tls_ports();
    let authority = certificates.authority.to_string_lossy().into_owned();
    let settings = owned(&[
        ("PGSSLMODE", "verify-full"),
        // The certificates themselves, as Terraform sets them.
        ("PGSSLROOTCERT", &std::fs::read_to_string(&authority).unwrap()),
        ("REDIS_URL", &format!("rediss://{USER}:{PLANTED}-redis@localhost:{redis}")),
        ("REDIS_TLS_CA", &authority),
        // On a busy machine the handshake of a new connection is slow.
        ("REDIS_TIMEOUT", "5s"),
    ]);
    (System::start_on(name, servers, settings).await, certificates)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_and_the_commands_work_over_it() {
    let (system, _certificates) = start("tls").await;
    let worker = system.worker();
    system.until("the worker is ready", async || worker.status().await == "ready").await;
    for name in ["postgres", "redis"] {
        let up = async || system.api.dependency(name).await == json!({"status": "up"});
        system.until(&format!("{name} is up"), up).await;
    }
    assert_eq!(system.post("a", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    system.until("the event has its row", async || system.rows().await == 1).await;
    system.until("it is read from Redis", async || system.read("a").await == (1.into(), true)).await;
    // Fences use the same connection settings.
    assert_eq!(system.post("a", "2", &json!({"n": 2})).await.unwrap().status(), 202);
    system.until("what is cached is the new state", async || system.read("a").await == (2.into(), true)).await;

    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name IN ('api-service', 'worker-service') AND ssl";
    assert!(system.count(&format!("{plain} IS FALSE")).await == 0 && system.count(plain).await > 0);
    let (done, said) = system.command(&["erase", "a"], &[]).await;
    assert!(done && said.contains("erased a: 2 events, version 2"), "{said}");
    worker.end().await;
}

/// Also: no log line contains a password, although the crates that get one log at trace level.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_and_a_wrong_name_are_refused_and_named() {
    let (system, certificates) = start("tls-wrong").await;
    let (postgres, redis) = system.servers.tls_ports();
    let other = certificates.other_authority.to_string_lossy();
    let by_address = system.scope.database_url.replace("@localhost:", "@127.0.0.1:");
    assert_ne!(by_address, system.scope.database_url);
    let redis_by_address = format!("rediss://{USER}:{PLANTED}-redis@127.0.0.1:{redis}");
    let wrong_user = format!("rediss://{USER}:{PLANTED}-wrong@localhost:{redis}");
    let (at_postgres, at_redis) = (format!("PostgreSQL at localhost:{postgres}: "), format!("localhost:{redis}"));
    // The other CA has the same name but another key.
    let other_key = "invalid peer certificate: BadSignature";
    let name = "invalid peer certificate: certificate not valid for name \"127.0.0.1\"";
    let of_postgres: [Attempt<'_>; 2] = [
        (&[("PGSSLROOTCERT", &other)], &[&at_postgres, other_key]),
        (&[("DATABASE_URL", &by_address)], &["PostgreSQL at 127.0.0.1:", name]),
    ];
    join_all(of_postgres.map(|(settings, why)| refused(&system, settings, "postgres", why))).await;
    let of_redis: [Attempt<'_>; 3] = [
        (&[("REDIS_TLS_CA", &other)], &[&at_redis, other_key]),
        (&[("REDIS_URL", &redis_by_address)], &["127.0.0.1:", name]),
        (&[("REDIS_URL", &wrong_user)], &[&at_redis, "Password authentication failed"]),
    ];
    // One after the other, so that the only worker in the group gets the events to fence.
    for (settings, why) in of_redis {
        refused(&system, settings, "redis", why).await;
    }
    // The services refuse a server without TLS.
    let shared = devstack::port::of(&devstack::endpoints().postgres_url).unwrap();
    let plain = system.scope.database_url.replace(&format!(":{postgres}/"), &format!(":{shared}/"));
    refused(&system, &[("DATABASE_URL", &plain)], "postgres", &["server does not support TLS"]).await;
    // The same settings with correct values work.
    let (done, said) = system.command(&["setup"], &[]).await;
    assert!(done, "{said}");
    assert_eq!(psql(&system.servers.endpoints().postgres_url, "SELECT 1").unwrap(), "1");
}

/// Neither service can connect to a dependency with these settings; logs and readiness of both report the reason.
async fn refused(system: &System, settings: &[(&str, &str)], name: &str, why: &[&str]) {
    // Only crates that know passwords log at trace level: with all crates a busy machine would drop log lines.
    let talkative = [settings, &[("RUST_LOG", "info,shared=trace,redis=trace,sqlx=trace,rustls=trace")]].concat();
    let (api, worker) = (system.another_api_with(&talkative), system.worker_with(&talkative));
    if name == "redis" {
        assert_eq!(system.post("fenced", &format!("{:x}", fastrand::u64(..)), &json!({})).await.unwrap().status(), 202);
    }
    let said = |text: &str| why.iter().all(|part| text.contains(part));
    let of_api = async || api.dependency(name).await["error"].as_str().is_some_and(said);
    system.until(&format!("the API's readiness says {why:?}"), of_api).await;
    if name == "postgres" {
        let of_worker = async || worker.health().await["outage"].as_str().is_some_and(said);
        system.until(&format!("and the worker's says {why:?}"), of_worker).await;
        let (done, told) = system.command(&["setup"], &talkative).await;
        assert!(!done && said(&told), "{settings:?}: {told}");
    }
    for service in [&api.service, &worker.service] {
        let in_log = async || service.log().replace('\\', "").lines().any(said);
        system.until(&format!("its log says {why:?}"), in_log).await;
        assert_eq!(service.log().lines().find_map(|line| told(line).map(|what| (what, line.to_owned()))), None);
    }
    worker.end().await;
}
