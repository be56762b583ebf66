//! Kafka with the login OAUTHBEARER: the services get access tokens from an issuer, and the broker verifies them.

use std::time::{SystemTime, UNIX_EPOCH};

use devstack::logs::PLANTED;

use crate::prelude::*;
use crate::secured_kafka::{refused, rows, secured, works};
use crate::token_endpoint::TokenEndpoint;

async fn start(name: &str, lifetime: Duration) -> (Arc<System>, TokenEndpoint) {
    let secured = secured().await;
    let endpoint = TokenEndpoint::start(&secured, lifetime).await;
    let settings = endpoint.env(&secured);
    (System::start_on(name, Servers::default(), settings).await, endpoint)
}

/// The broker ends a connection when its token does, unless it got the next one before. librdkafka asks for that after
/// four fifths of the time: the last fifth has to be long enough for a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn both_services_work_with_tokens_and_renew_them_before_they_end() {
    let (system, endpoint) = start("kafka-tokens", Duration::from_secs(30)).await;
    let worker = works(&system).await;
    // Until then each client needed a token; from then on, each that works has a new one.
    let last = endpoint.issued().into_iter().max().unwrap();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    system.until("all tokens of the beginning have ended", async || now() > last).await;
    assert!(endpoint.issued().iter().any(|end| *end > now()), "there are newer ones");
    assert_eq!(system.post("second", "2", &json!({"n": 2})).await.unwrap().status(), 202);
    rows(&system, 2).await;
    assert_eq!(worker.status().await, "ready");
    for log in [system.api.service.log(), worker.service.log()] {
        assert!(!log.contains("uthentication"), "no login failed: {log}");
    }
    worker.end().await;
}

/// librdkafka waits up to 20 s for a token, and the end of a client waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn both_services_end_in_time_while_the_issuer_takes_requests_and_does_not_answer() {
    let lifetime = Duration::from_secs(15);
    let (system, endpoint) = start("kafka-tokens-silent", lifetime).await;
    let (worker, api) = (works(&system).await, system.another_api());
    system.until("Kafka is up", async || api.dependency("kafka").await["status"] == "up").await;
    endpoint.fall_silent();
    system.until("clients wait for their next tokens", async || endpoint.unanswered() > 4).await;
    let (of_worker, of_api) = tokio::join!(worker.end(), api.running.end());
    // They took 18 and 23 s when they waited.
    for took in [of_worker, of_api] {
        assert!(took < Duration::from_secs(15), "the worker ended after {of_worker:?}, the API after {of_api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_a_wrong_token_and_a_wrong_endpoint_are_refused_and_the_log_says_why() {
    let (system, endpoint) = start("kafka-tokens-wrong", Duration::from_secs(3600)).await;
    let secured = secured().await;
    let url = |url: String| [("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", url)];
    let wrong: [([(&str, String); 1], &str); 5] = [
        ([("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", format!("{PLANTED}-wrong"))], "invalid_client"),
        // The broker refuses the token for another audience.
        ([("KAFKA_SASL_OAUTHBEARER_SCOPE", "another".to_owned())], "invalid_token"),
        (url(format!("http://127.0.0.1:{}/token", devstack::port::free())), "Failed to acquire SASL OAUTHBEARER token"),
        (url(endpoint.url("127.0.0.1")), "no alternative certificate subject name matches"),
        (
            [("KAFKA_PROPERTIES", format!("https.ca.location={}", secured.other_authority.display()))],
            "unable to get local issuer certificate",
        ),
    ];
    join_all(wrong.iter().map(async |([(name, value)], why)| refused(&system, &[(name, value)], why).await)).await;
}
