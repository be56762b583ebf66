//! An outage of each server: the API's log, metrics, readiness and answers match `docs/operations.md`.

use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::get;
use devstack::Proxy;
use devstack::token::{Signer, jwks};
use tokio::net::TcpListener;

use crate::prelude::*;

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// The symptoms of a fault: a row of the table in `docs/operations.md`.
struct Signals {
    fault: &'static str,
    /// The label in `dependency_up`, and the member of `dependencies` in `/health/ready`.
    dependency: (&'static str, &'static str),
    /// Beginnings of log messages, each with a text in a field of the same line.
    log: &'static [(&'static str, &'static str)],
    /// Another series that is above 0 or has increased.
    metric: &'static str,
    /// The status and the problem's `code`.
    post: &'static str,
    /// The answers for a cached and for an uncached resource.
    reads: [&'static str; 2],
}

impl Signals {
    fn row(&self) -> String {
        let (name, member) = self.dependency;
        let line = |(message, text): &(&str, &str)| match *text {
            "" => format!("`{message}`"),
            text => format!("`{message}` with `{text}`"),
        };
        let log: Vec<_> = self.log.iter().map(line).collect();
        let [cached, other] = self.reads.map(|answer| format!("`{answer}`"));
        let reads = if cached == other { cached } else { format!("{cached}, what is not cached {other}") };
        format!(
            "| {} | {} | `dependency_up{{dependency=\"{name}\"}}` 0, `{}` | `{member}` | `{}` | {reads} |",
            self.fault,
            log.join(", "),
            self.metric,
            self.post,
        )
    }
}

const FAULTS: [Signals; 4] = [
    Signals {
        fault: "Kafka is away",
        dependency: ("Kafka", "kafka"),
        log: &[("down", "Kafka")],
        metric: r#"kafka_produce_total{outcome="unknown"}"#,
        post: "503 outcome_unknown",
        reads: ["200", "200"],
    },
    Signals {
        fault: "PostgreSQL is away",
        dependency: ("PostgreSQL", "postgres"),
        log: &[("down", "no connection to PostgreSQL at")],
        metric: r#"http_requests_total{method="GET",route="/resource/{id}",status="503"}"#,
        post: "202",
        reads: ["200", "503 store_unavailable"],
    },
    Signals {
        fault: "Redis is away",
        dependency: ("Redis", "redis"),
        log: &[("down", "Redis"), ("Redis is away", "")],
        metric: r#"cache_lookups_total{outcome="bypass"}"#,
        post: "202",
        reads: ["200", "200"],
    },
    Signals {
        fault: "The issuer is away",
        dependency: ("JWKS", "jwks"),
        log: &[("cannot read the JWKS: using the last known keys", "")],
        metric: r#"jwks_refreshes_total{outcome="failed"}"#,
        post: "202",
        reads: ["200", "200"],
    },
];

/// Serves the JWKS on a separate port; returns the proxy that can cut it off.
async fn issuer(signer: &Signer) -> Proxy {
    let keys = jwks(&[signer]).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes = Router::new().route("/keys", get(async move || keys));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Proxy::to(port).unwrap()
}

struct Seen<'a> {
    system: &'a System,
    token: String,
}

impl Seen<'_> {
    /// The number of log lines with this message and this text in one of their fields.
    fn logged(&self, message: &str, field: &str) -> usize {
        logged(&self.system.api.service.log(), message, field).count()
    }

    /// The status of an answer, with the problem's code if there is one.
    async fn answer(request: reqwest::RequestBuilder) -> String {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        body["code"].as_str().map_or_else(|| status.to_string(), |code| format!("{status} {code}"))
    }

    async fn post(&self, device: &str) -> String {
        Self::answer(self.system.api.post("/events", &self.token, event(device).json())).await
    }

    async fn read(&self, device: &str) -> String {
        Self::answer(self.system.api.get(&format!("/resource/{device}"), &self.token)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_says_of_each_fault_what_the_runbook_tells() {
    let signer = Signer::generate("ES256", Some("k")).unwrap().0;
    let keys = issuer(&signer).await;
    let url = format!("http://127.0.0.1:{}/keys", keys.port);
    let settings = [
        ("JWT_JWKS_URL", &*url),
        ("JWT_JWKS_ALLOW_HTTP", "true"),
        ("JWT_JWKS_REFRESH", "1s"),
        // A body cached before a fault stays cached throughout.
        ("CACHE_TTL", "10min"),
        ("KAFKA_MESSAGE_TIMEOUT", "3s"),
        ("REQUEST_TIMEOUT", "8s"),
    ];
    let own = &[Own::Kafka, Own::Postgres, Own::Redis];
    let system = System::start_with("api-faults", own, &settings).await;
    let worker = system.worker();
    let token = signer.token("alice", &["admin"], &[], Duration::from_secs(3600)).unwrap();
    let seen = Seen { system: &system, token };
    let all_is_well = async || system.api.public_ready().await.1["status"] == "ready";
    system.until("all is well", all_is_well).await;
    for device in ["cached", "other"] {
        system.until("it is accepted", async || seen.post(device).await == "202").await;
        system.until("it has its effect", async || seen.read(device).await == "200").await;
    }
    // The worker is not needed any more.
    worker.end().await;

    for fault in &FAULTS {
        let (name, member) = fault.dependency;
        println!("{}", fault.row());
        assert!(OPERATIONS.contains(&fault.row()), "docs/operations.md does not tell: {}", fault.row());
        system.until("what is read often is cached", async || seen.read("cached").await == "200").await;
        // Make sure that it is not cached after the previous fault.
        if name != "Redis" {
            uncached(&system, "other").await;
        }
        let before = system.api.sample(fault.metric).await.unwrap_or_default();
        let lines: Vec<_> = fault.log.iter().map(|(message, field)| seen.logged(message, field)).collect();
        match system.servers.named(name) {
            Some(server) => server.stop().unwrap(),
            None => keys.cut(),
        }
        let down = async || {
            let (status, report) = system.api.public_ready().await;
            let down = report["dependencies"][member]["status"] == "down";
            assert!(!down || (status == 200 && report["status"] == "degraded"), "{status} {report}");
            down
        };
        system.until("readiness says so", down).await;
        assert_eq!(seen.post("another").await, fault.post, "{name}");
        assert_eq!(seen.read("cached").await, fault.reads[0], "{name}");
        assert_eq!(seen.read("other").await, fault.reads[1], "{name}");
        for ((message, field), before) in fault.log.iter().zip(lines) {
            let what = format!("the log says {message:?}");
            // Some symptoms appear only when requests arrive.
            let said = async || seen.read("cached").await == fault.reads[0] && seen.logged(message, field) > before;
            system.until(&what, said).await;
        }
        let gauge = format!(r#"dependency_up{{dependency="{name}"}}"#);
        system.until("the gauge is 0", async || system.api.sample(&gauge).await == Some(0.0)).await;
        system.until(fault.metric, async || system.api.sample(fault.metric).await.unwrap_or_default() > before).await;

        let (message, text) = if name == "JWKS" { ("the JWKS keys are up to date", "") } else { ("up", name) };
        assert!(OPERATIONS.contains(&format!("`{message}`")), "docs/operations.md does not tell: {message}");
        let over = seen.logged(message, text);
        match system.servers.named(name) {
            Some(server) => server.start().unwrap(),
            None => keys.mend(),
        }
        system.until("all is well again", all_is_well).await;
        system.until("the log says that it is over", async || seen.logged(message, text) > over).await;
        system.until("the gauge is 1", async || system.api.sample(&gauge).await == Some(1.0)).await;
        system.until("posts are accepted", async || seen.post("another").await == "202").await;
    }
}

async fn uncached(system: &System, device: &str) {
    let mut redis = direct(&system.scope.endpoints.redis_url).await;
    ask(&mut redis, &["UNLINK", &format!("{}resource:{device}", system.scope.cache_prefix)]).await.unwrap();
}
