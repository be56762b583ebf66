//! HTTP for all domains: the server, the limits of bodies and responses, problems, log lines, the OpenAPI document.

pub(crate) mod accept;
pub(crate) mod asyncapi;
pub mod body;
pub mod compression;
mod conditional;
mod config;
pub mod correlation;
pub mod cors;
pub mod docs;
pub mod encoding;
pub(crate) mod idempotency;
pub mod in_flight;
pub mod layers;
pub(crate) mod members;
pub mod observe;
pub mod openapi;
pub(crate) mod parameters;
pub(crate) mod prefer;
pub mod problem;
pub mod rate;
pub mod request_id;
pub mod response_budget;
pub mod schemas;
pub mod server;
pub mod subject;
pub mod trace;
pub mod webhook;

use axum::routing::MethodRouter;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};

pub(crate) use self::body::content_type;
pub use self::conditional::IfMatch;
pub(crate) use self::conditional::is_fresh;
pub use self::config::HttpConfig;
use self::rate::Kind;

/// A route: its path, as in the metrics and in the document, and its handlers.
pub type Route = (&'static str, MethodRouter);

/// Describes the metrics of this module. The counters that have alerts start at 0: one that appears with its first
/// increment shows no increase.
pub fn describe() {
    describe_counter!(
        "http_requests_total",
        "Requests, by method, route and status; 499 is one that was not answered."
    );
    describe_histogram!("http_request_duration_seconds", "Time from a request's headers to its answer, by route.");
    describe_counter!("rate_limited_total", "Requests answered 429, by policy.");
    describe_counter!(
        "rate_limit_forgotten_total",
        "Subjects whose quota was dropped because there were too many subjects."
    );
    describe_counter!(
        "overloaded_total",
        "Requests refused because there was no memory left for their body or answer, or no place for a slow body."
    );
    describe_gauge!(in_flight::SLOW_BODIES, "Bodies that have been arriving for more than 5 seconds.");
    describe_counter!(
        "http_connections_closed_total",
        "Connections that ended before their clients were done, by reason."
    );
    for name in ["rate_limit_forgotten_total", "overloaded_total"] {
        counter!(name).increment(0);
    }
    for kind in Kind::ALL {
        counter!("rate_limited_total", "policy" => kind.policy()).increment(0);
    }
    for reason in server::ENDED_EARLY {
        counter!("http_connections_closed_total", "reason" => reason).increment(0);
    }
    gauge!(in_flight::SLOW_BODIES).set(0);
}
