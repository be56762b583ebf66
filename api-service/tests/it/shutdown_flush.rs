//! Events that were handed to Kafka are written, even if no request waits for them any more.

use rdkafka::mocking::MockCluster;
use tokio::net::TcpStream;

use crate::prelude::*;

async fn written(brokers: String, topic: String) -> i64 {
    let ends = blocking(move || devstack::committed(&brokers, &topic, "nobody").unwrap());
    ends.await.values().map(|(_, end)| end).sum()
}

#[tokio::test]
async fn an_event_whose_client_has_gone_is_in_the_topic_after_the_end() {
    let scope = prepared("flush").await;
    // The event waits in the producer's queue for its batch, for longer than the test takes.
    let settings = [("KAFKA_LINGER", "50s"), ("KAFKA_MESSAGE_TIMEOUT", "60s"), ("REQUEST_TIMEOUT", "70s")];
    let binary = Binary::with(&scope, &settings);
    let (mut posted, start) = (0, Instant::now());
    let queued = async || {
        let metrics = binary.metrics().await;
        metrics.lines().any(|line| line.starts_with("kafka_queue_records{") && line.ends_with("} 1"))
    };
    // The first client is replaced once Kafka has returned the topic's limit, and sends its records then.
    let client = 'queued: loop {
        assert!(start.elapsed() < Duration::from_secs(45), "the event is not in the queue");
        let mut client = Raw::send(binary.address, &post(&admin(), EVENT.len())).await;
        client.write(EVENT).await;
        posted += 1;
        // The producer reports its queue every five seconds.
        let deadline = Instant::now() + Duration::from_secs(12);
        while Instant::now() < deadline {
            if queued().await {
                break 'queued client;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let start = Instant::now();
    drop(client);
    let (status, log) = blocking(|| binary.terminate()).await;
    assert_eq!(status, Some(0), "{log:?}");
    assert!(start.elapsed() < Duration::from_secs(45), "it waited for others all the same");

    assert_eq!(written(scope.endpoints.kafka_brokers.clone(), scope.input_topic.clone()).await, posted, "{log:?}");
}

/// The same for the client that sends each event by itself, which has its own queue.
#[tokio::test]
async fn events_that_go_alone_are_in_the_topic_after_the_end_too() {
    let scope = prepared("flush_alone").await;
    // librdkafka's mock broker never returns the topic's limit, so several events of one device are sent one by one. It
    // is down until the service only waits for it.
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(&scope.input_topic, PARTITIONS, 1).unwrap();
    cluster.broker_down(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let settings = [("KAFKA_BROKERS", &*brokers), ("KAFKA_MESSAGE_TIMEOUT", "60s"), ("REQUEST_TIMEOUT", "70s")];
    let binary = Binary::with(&scope, &settings);
    let clients = binary.threads("rdk:main");
    assert!(clients > 0, "librdkafka names its threads in another way");

    let request = tokio::spawn(binary.post("/events/batch", &admin(), format!("[{EVENT},{EVENT}]")).send());
    // That client is started for these events, and gets them at once.
    until("a client is started for them", async || binary.threads("rdk:main") != clients).await;
    request.abort();
    binary.service.terminate().unwrap();
    until("nothing more is accepted", async || TcpStream::connect(binary.address).await.is_err()).await;
    cluster.broker_up(1).unwrap();
    let (status, log) = blocking(|| binary.terminate()).await;
    assert_eq!(status, Some(0), "{log:?}");
    assert_eq!(written(brokers, scope.input_topic.clone()).await, 2, "{log:?}");
}
