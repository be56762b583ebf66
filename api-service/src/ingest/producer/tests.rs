use std::time::Duration;

use bytes::Bytes;
use clap::Parser as _;
use futures_util::future::join_all;
use shared::kafka::Envelope;
use time::OffsetDateTime;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

#[derive(clap::Parser)]
struct Settings {
    #[command(flatten)]
    kafka: KafkaConfig,
    #[command(flatten)]
    producer: ProducerConfig,
}

/// The minimum settings, or these.
pub(super) fn config(more: &[&str]) -> (KafkaConfig, ProducerConfig) {
    let brokers = ["--kafka-brokers=b:1"];
    let usual = if more.is_empty() { &brokers[..] } else { &[] };
    let Settings { kafka, producer } = Settings::parse_from([&["api"], usual, more].concat());
    (kafka, producer)
}

fn producer(settings: &[&str]) -> Producer {
    let (kafka, producer) = config(settings);
    Producer::new(&kafka, &producer, "events").unwrap()
}

pub(super) fn event(device: &str) -> Outgoing {
    let (id, data) = ("e".parse().unwrap(), Bytes::from_static(b"{}"));
    let envelope = Envelope::new("io.edge.device.reported.v1", device.into(), id, OffsetDateTime::now_utc(), data);
    Outgoing { envelope, source: format!("/devices/{device}") }
}

/// Single-threaded, so that the task that replaces the client runs only while the test waits.
#[tokio::test]
async fn a_devices_events_are_not_batched_by_a_client_that_does_not_keep_to_the_limit_yet() {
    let producer = producer(&[]);
    let events = ["several", "one", "several"].map(event);
    let alone = || {
        let steps = producer.plan(&producer.0.batched.client(), &events);
        let alone = events.iter().zip(steps).filter(|(_, step)| step.way == Way::Alone);
        alone.map(|(event, _)| event.envelope.key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(alone(), ["several"; 2], "the limit is unknown, and they are few");

    producer.learn(20_000);
    assert_eq!(producer.batch_limit(), Some(20_000));
    assert_eq!(alone(), ["several"; 2], "the client of before makes larger batches");

    let replaced = async {
        while !producer.0.batched.client().keeps_to(&producer.0.limit) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), replaced).await.expect("the client is not replaced");
    assert!(alone().is_empty(), "{:?}", alone());

    producer.learn(1_000_000);
    assert!(alone().is_empty(), "its batches are smaller than they could be: {:?}", alone());
}

/// A broker that starts refuses a producer's first batch to a partition, and accepts the second: it does not know the
/// producer, and does not miss the first batch. librdkafka concludes from the second that the first was written.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_broker_acknowledged_is_not_accepted() {
    let kafka = MockCluster::new(1).unwrap();
    let producer = producer(&["--kafka-brokers", &kafka.bootstrap_servers(), "--kafka-linger=0ms"]);
    kafka.create_topic(producer.topic(), 1, 1).unwrap();
    let send = async |device: &str, after| {
        tokio::time::sleep(after).await;
        producer.send(&event(device), Instant::now() + Duration::from_secs(20)).await
    };
    assert!(matches!(send("first", Duration::ZERO).await, Outcome::Accepted { .. }), "it is connected");
    // Long enough for both to be in flight at the same time.
    kafka.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    kafka.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    let outcomes = tokio::join!(send("a", Duration::ZERO), send("b", Duration::from_millis(100)));
    assert!(matches!(outcomes, (Outcome::Unknown, Outcome::Accepted { offset: 1, .. })), "{outcomes:?}");
}

/// One at a time, or five under way at once, they would take longer than they have: 20 s.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_while_others_are_under_way_go_together() {
    let kafka = MockCluster::new(1).unwrap();
    let brokers = kafka.bootstrap_servers();
    let producer = producer(&["--kafka-brokers", &brokers, "--kafka-message-timeout=30s"]);
    kafka.create_topic(producer.topic(), 1, 1).unwrap();
    let connected = producer.send(&event("first"), Instant::now() + Duration::from_secs(20)).await;
    assert!(matches!(connected, Outcome::Accepted { .. }), "{connected:?}");
    kafka.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let events: Vec<_> = (0..200).map(|number| event(&format!("device-{number}"))).collect();
    let outcomes = join_all(events.iter().map(|event| producer.send(event, deadline))).await;
    let accepted = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Accepted { .. })).count();
    assert_eq!(accepted, events.len(), "{outcomes:?}");
}
