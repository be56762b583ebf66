//! What was handed to Kafka is written, though nobody waits for it any more.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::app::{PARTITIONS, admin, prepare, scope};
use crate::binary::Binary;
use crate::http::{Raw, post};

const BODY: &str = r#"{"device_id":"d","payload":{}}"#;

#[tokio::test]
async fn an_event_whose_client_has_gone_is_in_the_topic_after_the_end() {
    let scope = scope("flush").await;
    prepare(&scope).await;
    // It waits in the producer's queue for others to travel with, for longer than the test takes.
    let settings = [("KAFKA_LINGER", "50s"), ("KAFKA_MESSAGE_TIMEOUT", "60s"), ("REQUEST_TIMEOUT", "70s")];
    let binary = Binary::with(&scope, &settings);
    let mut client = Raw::connect(binary.address).await;
    client.write(&post(&admin(), BODY.len())).await;
    client.write(BODY).await;
    let metrics = format!("http://{}/metrics", binary.internal);
    let start = Instant::now();
    // The producer tells of its queue every five seconds.
    while !reqwest::get(&metrics).await.unwrap().text().await.unwrap().contains("\nkafka_queue_records 1\n") {
        assert!(start.elapsed() < Duration::from_secs(30), "the event is not in the queue");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(client);
    let (status, log) = tokio::task::spawn_blocking(|| binary.terminate()).await.unwrap();
    assert_eq!(status, Some(0), "{log:?}");
    assert!(start.elapsed() < Duration::from_secs(45), "it waited for others all the same");

    let written = tokio::task::spawn_blocking(move || {
        let brokers = &scope.endpoints.kafka_brokers;
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let end =
            |partition| consumer.fetch_watermarks(&scope.input_topic, partition, Duration::from_secs(30)).unwrap().1;
        (0..PARTITIONS).map(end).sum::<i64>()
    });
    assert_eq!(written.await.unwrap(), 1, "{log:?}");
}
