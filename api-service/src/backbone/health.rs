//! Liveness and readiness.
//!
//! Liveness does not depend on Kafka, PostgreSQL or Redis. An instance is ready while it can accept events or read
//! resources, and can verify tokens. Kafka counts for those that accept events; one that only reads Kafka does its work
//! without it. The states come from [`probes`](super::probes); a request starts no probe.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::jwks::{Freshness, up_or_down};
use crate::auth::tokens::Tokens;
use crate::http::Route;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Dependency {
    #[serde(rename = "status", serialize_with = "up_or_down")]
    pub up: bool,
    /// A problem that an operator should check, although the dependency works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
    /// The last error, if the dependency does not work. Only on the internal port, because it names servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Dependencies {
    /// `None`: this instance neither writes to Kafka nor reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Dependency>,
    /// Whether this instance writes to Kafka.
    #[serde(skip)]
    pub accepts_events: bool,
    pub postgres: Dependency,
    pub redis: Dependency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Freshness>,
}

/// The last known state of every dependency.
#[derive(Debug, Default)]
pub struct Health {
    dependencies: Mutex<Dependencies>,
    ending: AtomicBool,
}

impl Health {
    pub fn note(&self, change: impl FnOnce(&mut Dependencies)) {
        change(&mut self.locked());
    }

    /// Marks the start of the shutdown: this instance should get no more traffic.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn locked(&self) -> MutexGuard<'_, Dependencies> {
        self.dependencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this instance is ready, and the report with all errors for the internal port.
pub fn report(health: &Health, tokens: &Tokens) -> (bool, Value) {
    let found = Dependencies { jwks: tokens.source.freshness(), ..health.locked().clone() };
    let status = status(&found, tokens.source.keys().any(), health.ending.load(Ordering::Relaxed));
    (status != "unready", json!({"status": status, "dependencies": found}))
}

/// The report for the public port: without the errors, because they name servers.
fn public_report(health: &Health, tokens: &Tokens) -> (bool, Value) {
    let (is_ready, mut report) = report(health, tokens);
    let dependencies = report.pointer_mut("/dependencies").and_then(Value::as_object_mut);
    for dependency in dependencies.into_iter().flat_map(|all| all.values_mut()).filter_map(Value::as_object_mut) {
        dependency.remove("error");
    }
    (is_ready, report)
}

fn status(found: &Dependencies, any_key: bool, ending: bool) -> &'static str {
    let Dependencies { kafka, accepts_events, postgres, redis, jwks } = found;
    let accepts = *accepts_events && kafka.as_ref().is_some_and(|kafka| kafka.up);
    let reads = postgres.up || redis.up;
    let all = kafka.as_ref().is_none_or(|kafka| kafka.up) && postgres.up && redis.up;
    match (accepts || reads, all && jwks.as_ref().is_none_or(|keys| keys.up)) {
        // Without a key every token gets 503.
        _ if ending || !any_key => "unready",
        (false, _) => "unready",
        (true, true) => "ready",
        // Events or reads work, for tokens whose keys are known.
        (true, false) => "degraded",
    }
}

/// Liveness: whether the process runs.
pub(super) const LIVE: &str = "/health/live";
/// Readiness: whether this instance should get traffic.
pub(super) const READY: &str = "/health/ready";

pub fn routes(health: Arc<Health>, tokens: Arc<Tokens>) -> [Route; 2] {
    let ready = move || std::future::ready(ready(public_report(&health, &tokens)));
    [(LIVE, get(live)), (READY, get(ready))]
}

async fn live() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(json!({"status": "live"}))).into_response()
}

fn ready((ready, body): (bool, Value)) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_while_one_of_the_two_ways_works() {
        let found = |kafka, postgres, redis| {
            let dependency = |up| Dependency { up, ..Dependency::default() };
            let (kafka, postgres, redis) = (dependency(kafka), dependency(postgres), dependency(redis));
            Dependencies { kafka: Some(kafka), accepts_events: true, postgres, redis, jwks: None }
        };
        assert_eq!(status(&found(true, true, true), true, false), "ready");
        assert_eq!(status(&found(false, true, true), true, false), "degraded", "reads work");
        assert_eq!(status(&found(false, false, true), true, false), "degraded", "hits work");
        assert_eq!(status(&found(true, false, false), true, false), "degraded", "writes work");
        assert_eq!(status(&found(false, false, false), true, false), "unready");
        assert_eq!(status(&found(true, true, true), true, true), "unready", "about to end");
        let with = |up| Dependencies {
            jwks: Some(Freshness { up, age_seconds: None, error: None }),
            ..found(true, true, true)
        };
        assert_eq!(status(&with(true), true, false), "ready");
        assert_eq!(status(&with(false), true, false), "degraded", "the last keys, or the secret, count");
        assert_eq!(status(&with(false), false, false), "unready", "no token can be checked");
    }

    #[test]
    fn without_events_to_accept_only_reads_keep_an_instance_ready() {
        let found = |kafka: Option<bool>, postgres, redis| {
            let dependency = |up| Dependency { up, ..Dependency::default() };
            let (kafka, postgres, redis) = (kafka.map(dependency), dependency(postgres), dependency(redis));
            Dependencies { kafka, accepts_events: false, postgres, redis, jwks: None }
        };
        for (kafka, postgres, redis, expected) in [
            // Kafka wakes requests that are held here, and does no more.
            (Some(true), true, true, "ready"),
            (Some(false), true, true, "degraded"),
            (Some(true), false, true, "degraded"),
            (Some(true), false, false, "unready"),
            (Some(false), false, false, "unready"),
            // It is not asked.
            (None, true, true, "ready"),
            (None, true, false, "degraded"),
            (None, false, false, "unready"),
        ] {
            let told = status(&found(kafka, postgres, redis), true, false);
            assert_eq!(told, expected, "Kafka {kafka:?}, PostgreSQL {postgres}, Redis {redis}");
        }
        let unasked = serde_json::to_value(found(None, true, true)).unwrap();
        assert_eq!(unasked, json!({"postgres": {"status": "up"}, "redis": {"status": "up"}}));
    }
}
