//! The topic's limit is unknown, or has changed: valid events are still accepted, in their order.

use api_service::ingest::producer::{Outcome, Producer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::app::prepare;
use crate::prelude::*;
use crate::sized::{MAX_PAYLOAD, PATIENT, Sent, array, in_order, limit_of, limited, places};

/// The producer by itself, which does not know the topic's limit.
#[tokio::test]
async fn a_limit_that_is_not_known_is_found_out_by_a_refusal() {
    let scope = limited("unknown_limit", 50_000).await;
    let settings = config(&scope, &PATIENT).backbone;
    let producer = Producer::new(&settings.kafka, &settings.producer, &scope.input_topic).unwrap();
    let mut random = fastrand::Rng::new();
    let mut requests = Vec::new();
    for n in 0..6 {
        // Many devices, and one that has many events.
        let many = |m| if m % 2 == 0 { format!("d{m}") } else { "d".to_owned() };
        let request: Vec<_> =
            (0..60).map(|m| Sent::new(&mut random, many(m), format!("{n}-{m}"), 15_000, false)).collect();
        requests.push(request);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let all: Vec<Vec<_>> = requests.iter().map(|request| request.iter().map(Sent::event).collect()).collect();
    for outcomes in join_all(all.iter().map(|events| producer.send_all(events, deadline))).await {
        for outcome in outcomes {
            assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
        }
    }
    let app = TestApp::prepared(scope, &[]).await;
    let places = places(&app, 360).await;
    for request in &requests {
        in_order(&places, request);
    }
}

#[tokio::test]
async fn the_order_is_kept_while_the_limit_is_made_smaller() {
    let scope = limited("smaller_limit", 1_000_000).await;
    let app = TestApp::prepared(scope.clone(), &PATIENT).await;
    let mut random = fastrand::Rng::new();
    // First, the broker has to know the producer on every partition, and the producer the limit.
    let first: Vec<_> = (0..30).map(|n| Sent::new(&mut random, format!("w{n}"), "0".into(), 10, false)).collect();
    let is_asked_for = async || app.producer.batch_limit() == Some(1_000_000);
    devstack::kit::until("the limit is asked for", is_asked_for).await;
    assert_eq!(batch(&app, &admin(), "application/json", array(&first)).send().await.unwrap().status(), 202);
    limit_of(&scope, 100_000, "uncompressed").await;
    // Several batches of up to a megabyte; only the last one fits.
    let request: Vec<_> = (0..70).map(|n| Sent::new(&mut random, "d".into(), format!("{n}"), 30_000, false)).collect();
    let answer = batch(&app, &admin(), "application/json", array(&request)).send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, 202, "{}", answer.text().await.unwrap());
    in_order(&places(&app, 100).await, &request);
}

#[tokio::test]
async fn where_kafka_does_not_say_its_limit_a_refused_batch_is_sent_in_parts() {
    // librdkafka's mock broker returns no settings. The test makes it refuse batches with the error of a topic with a
    // smaller `max.message.bytes`, and with the error of a topic with a smaller `segment.bytes` before Kafka 4.
    for (name, refusal) in [
        ("never_told", RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE),
        ("never_told_segment", RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE),
    ] {
        let cluster = MockCluster::new(1).unwrap();
        let brokers = format!("--kafka-brokers={}", cluster.bootstrap_servers());
        let app = TestApp::with(name, &[&brokers]).await;
        cluster.create_topic(&app.scope.input_topic, 3, 1).unwrap();
        let mut random = fastrand::Rng::new();
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 1]);
        for round in 0..4 {
            let request: Vec<_> =
                (0..20).map(|n| Sent::new(&mut random, format!("{n}"), format!("{round}"), 10, false)).collect();
            let answer = batch(&app, &admin(), "application/json", array(&request)).send().await.unwrap();
            let status = answer.status();
            assert_eq!(status, 202, "{name}, round {round}: {}", answer.text().await.unwrap());
        }
    }
}

#[tokio::test]
async fn what_no_segment_holds_is_too_large() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = format!("--kafka-brokers={}", cluster.bootstrap_servers());
    let app = TestApp::with("no_segment", &[&brokers]).await;
    cluster.create_topic(&app.scope.input_topic, 3, 1).unwrap();
    // Refused in the batch, and alone.
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE; 2]);
    let sent = Sent::new(&mut fastrand::Rng::new(), "d".into(), "1".into(), 10, false);
    is_refused(app.submit(sent.json()).await, 413, "body_too_large", None).await;
    assert_eq!(app.submit(sent.json()).await.status(), 202);
}

/// With the default timeouts.
#[tokio::test(flavor = "multi_thread")]
async fn where_kafka_is_far_away_and_does_not_say_its_limit_good_events_are_accepted_in_time() {
    let cluster = MockCluster::new(1).unwrap();
    let mut scope = scope("far_away").await;
    prepare(&scope).await;
    scope.endpoints.kafka_brokers = cluster.bootstrap_servers();
    cluster.create_topic(&scope.input_topic, PARTITIONS, 1).unwrap();
    let app = TestApp::prepared(scope, &["--kafka-message-timeout=5s", "--request-timeout=10s"]).await;
    cluster.broker_round_trip_time(1, Duration::from_millis(50)).unwrap();
    let random = std::cell::RefCell::new(fastrand::Rng::new());
    let request = |name: &str, count, device: fn(usize) -> usize, bytes: fn(usize) -> usize| {
        let sent = |n| {
            let device = format!("{name}-{}", device(n));
            Sent::new(&mut random.borrow_mut(), device, format!("{name}-{n}"), bytes(n), false)
        };
        (0..count).map(sent).collect::<Vec<_>>()
    };
    let requests = [
        ("one device", request("one", 1000, |_| 0, |_| 200)),
        ("two hundred devices", request("many", 1000, |n| n % 200, |_| 200)),
        (
            "one that is larger than a batch",
            request("large", 1000, |_| 0, |n| if n == 500 { MAX_PAYLOAD } else { 200 }),
        ),
        (
            "every second is larger than a batch",
            request("mixed", 20, |_| 0, |n| if n % 2 == 0 { MAX_PAYLOAD } else { 200 }),
        ),
        ("as many bytes as a request may have", request("full", 1000, |_| 0, |_| 8_000)),
    ];
    for (what, request) in &requests {
        let start = Instant::now();
        let answer = batch(&app, &admin(), "application/json", array(request)).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 202, "{what}: {:.300}", answer.text().await.unwrap());
        println!("{what}: {:?}", start.elapsed());
        assert_eq!(app.producer.batch_limit(), None, "it is still not told");
        // The mock broker keeps only the newest records.
        if what.starts_with("every second") {
            let places = places(&app, 3020).await;
            requests.iter().take(4).for_each(|(_, request)| in_order(&places, request));
        }
    }
}
