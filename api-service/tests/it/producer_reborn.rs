//! A producer is replaced after a fatal error.

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::prelude::*;

#[tokio::test]
async fn events_are_taken_again_after_a_fatal_error() {
    // Only librdkafka's mock broker can return errors on demand.
    let cluster = MockCluster::new(1).unwrap();
    let brokers = format!("--kafka-brokers={}", cluster.bootstrap_servers());
    let app = TestApp::with("fatal", &[&brokers, "--kafka-message-timeout=2s"]).await;
    cluster.create_topic(&app.scope.input_topic, 1, 1).unwrap();
    assert_eq!(app.submit(EVENT).await.status(), 202);

    // An unexplained gap in an idempotent producer's sequence.
    let gap = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[gap; 1]);
    is_refused(app.submit(EVENT).await, 503, "outcome_unknown", Some("1")).await;

    devstack::kit::until("the producer comes back", async || app.submit(EVENT).await.status() == 202).await;
}
