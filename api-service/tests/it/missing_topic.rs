//! A missing topic is not created, even if the broker allows it, and no event is accepted for it.

use devstack::kit::{has_topic, kafka_that_makes_topics};

use crate::app::prepare;
use crate::prelude::*;

const BODY: &str = r#"{"device_id":"d","event_id":"1","payload":{}}"#;

/// With the default timeouts.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_not_made_and_takes_no_event() {
    let kafka = kafka_that_makes_topics().await;
    let mut scope = scope("no_topic").await;
    // Only for the tables; the topics are elsewhere.
    prepare(&scope).await;
    scope.endpoints.kafka_brokers = kafka.brokers().to_owned();
    let app = TestApp::prepared(scope.clone(), &["--kafka-message-timeout=5s", "--request-timeout=10s"]).await;
    let several = format!("[{BODY},{},{BODY}]", BODY.replace("\"d\"", "\"e\""));
    for _ in 0..2 {
        let start = Instant::now();
        let single = is_refused(app.submit(BODY).await, 503, "topic_missing", Some("1")).await;
        assert_eq!(single["event_id"], "1");
        let many = batch(&app, &admin(), "application/json", several.clone()).send().await.unwrap();
        let many = is_refused(many, 503, "topic_missing", Some("1")).await;
        let items = many["items"].as_array().unwrap();
        assert!(items.len() == 3 && items.iter().all(|item| item["code"] == "topic_missing"), "{many}");
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    }
    let ready: Value = app.request("GET", "/health/ready").send().await.unwrap().json().await.unwrap();
    assert!(ready.to_string().contains("down"), "{ready}");
    assert!(!has_topic(kafka.brokers(), &scope.input_topic).await, "somebody made it");

    prepare(&scope).await;
    until("it is found when it is there", async || app.submit(BODY).await.status() == 202).await;
}
