use std::time::Duration;

use bytes::Bytes;
use clap::Parser as _;
use shared::topic::Envelope;
use time::OffsetDateTime;

use super::*;

pub(super) fn event(device: &str) -> Outgoing {
    let now = OffsetDateTime::now_utc();
    let envelope = Envelope {
        event_type: "io.edge.device.reported.v1",
        key: device.into(),
        subject: device.into(),
        id: "e".parse().unwrap(),
        occurred_at: now,
        accepted_at: now,
        request_id: None,
        user_id: None,
        traceparent: None,
        data: Bytes::from_static(b"{}"),
    };
    Outgoing { envelope, source: format!("/devices/{device}") }
}

/// On one thread, so that the task that replaces the client runs where the test waits, and nowhere else.
#[tokio::test]
async fn a_devices_events_are_not_batched_by_a_client_that_does_not_keep_to_the_limit_yet() {
    let args = ["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
    let producer = Producer::new(&Config::try_parse_from(args).unwrap()).unwrap();
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
