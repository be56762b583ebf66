//! Every metric of the API, described. The counters that alerts look at are there from the start, at
//! 0: one that appears with its first increment has no increase.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};

use crate::producer::Outcome;
use crate::rate::Kind;

pub fn describe() {
    shared::cache::describe();
    describe_counter!(
        "http_requests_total",
        "Requests, by method, route and status; 499 is one that was not answered."
    );
    describe_histogram!("http_request_duration_seconds", "From a request's headers to its answer, by route.");
    describe_counter!("kafka_produce_total", "Events handed to Kafka, by what became of them.");
    describe_histogram!(
        "kafka_produce_duration_seconds",
        "Until all in-sync replicas have acknowledged, for each event or batch."
    );
    describe_counter!("kafka_produce_resent_total", "Events sent again by themselves, after a batch was refused.");
    describe_counter!("kafka_producer_rebuilt_total", "Producers replaced after a fatal error.");
    describe_gauge!("kafka_queue_records", "Events that wait for Kafka's acknowledgement.");
    describe_gauge!("kafka_queue_bytes", "Their bytes.");
    describe_gauge!("kafka_queue_limit_bytes", "How many there may be: KAFKA_QUEUE_BYTES.");
    describe_counter!("cache_lookups_total", "Reads of a resource, by where it came from.");
    describe_gauge!("dependency_up", "Whether a dependency works, as this instance sees it.");
    describe_counter!("auth_rejected_total", "Tokens refused, by reason.");
    describe_counter!("auth_verified_total", "Tokens whose signature was checked.");
    describe_gauge!("jwks_last_success_timestamp_seconds", "When the published keys were last read.");
    describe_gauge!("jwks_keys", "Published keys that tokens are checked with; 0: none was read yet.");
    describe_counter!("jwks_refreshes_total", "Reads of the published keys, by outcome.");
    describe_counter!("rate_limited_total", "Requests answered 429, by policy.");
    describe_counter!("rate_limit_forgotten_total", "Subjects whose account was forgotten for want of room.");
    describe_counter!("overloaded_total", "Requests refused because there was no room for their body or answer.");
    describe_counter!(
        "http_connections_closed_total",
        "Connections that ended before their clients were done, by reason."
    );

    for outcome in Outcome::ALL {
        counter!("kafka_produce_total", "outcome" => outcome.as_str()).increment(0);
    }
    for name in [
        "kafka_produce_resent_total",
        "kafka_producer_rebuilt_total",
        "auth_verified_total",
        "rate_limit_forgotten_total",
        "overloaded_total",
    ] {
        counter!(name).increment(0);
    }
    for kind in Kind::ALL {
        counter!("rate_limited_total", "policy" => kind.policy()).increment(0);
    }
    for reason in ["answer_not_taken", "client_gone", "headers_too_large", "idle", "unreadable"] {
        counter!("http_connections_closed_total", "reason" => reason).increment(0);
    }
}
