//! A 202 requires every in-sync replica, and as many of them as the topic demands.

use std::collections::HashMap;

use api_service::ingest::producer::settings;
use devstack::kit::{TEST_TIMEOUT, event};
use devstack::{KafkaCluster, Scope};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::app::prepare_on;
use crate::prelude::*;

async fn in_sync(scope: &Scope) -> HashMap<i32, Vec<i32>> {
    let client = shared::kafka::client(&config(scope, &[]).backbone.kafka).unwrap();
    let topic = scope.input_topic.clone();
    let ask = move || {
        let consumer: BaseConsumer = client.create().unwrap();
        let metadata = consumer.fetch_metadata(Some(&topic), TEST_TIMEOUT).unwrap();
        metadata.topics()[0].partitions().iter().map(|found| (found.id(), found.isr().to_vec())).collect()
    };
    blocking(ask).await
}

async fn until_in_sync(scope: &Scope, wanted: impl Fn(&[i32]) -> bool) {
    let are_wanted = async || {
        let all = in_sync(scope).await;
        if all.values().all(|replicas| wanted(replicas)) { Ok(()) } else { Err(all) }
    };
    found("the replicas are as they should be", are_wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_replica_away_nothing_is_accepted_that_has_too_few_of_them() {
    let cluster = blocking(|| KafkaCluster::start().unwrap()).await;
    let mut scope = scope("replicas").await;
    scope.endpoints.kafka_brokers = cluster.brokers();
    // Each of the three partitions is on another pair of the three brokers.
    prepare_on(&scope, 2).await;
    let app = TestApp::prepared(scope.clone(), &["--kafka-message-timeout=3s"]).await;

    until_in_sync(&scope, |replicas| replicas.len() == 2).await;
    for n in 0..12 {
        assert_eq!(app.submit(event(format!("d{n}")).json()).await.status(), 202);
    }
    let mut devices: HashMap<i32, String> = HashMap::new();
    for record in records(&app, 12).await {
        devices.insert(record.partition, String::from_utf8(record.key().unwrap().to_vec()).unwrap());
    }
    assert_eq!(devices.len(), 3, "one for each partition");

    tokio::task::block_in_place(|| cluster.nodes[2].kill().unwrap());
    until_in_sync(&scope, |replicas| !replicas.contains(&3)).await;
    // The broker's own answer, with the API's settings but fewer retries.
    let mut once = settings(&app.config.backbone.kafka, &app.config.backbone.producer).unwrap();
    let once: FutureProducer = once.set("message.send.max.retries", "1").create().unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for (partition, replicas) in in_sync(&scope).await {
        let record = FutureRecord::<str, str>::to(&scope.input_topic).partition(partition).payload("{}");
        let said = once.send(record, TEST_TIMEOUT).await;
        let answer = app.submit(event(&devices[&partition]).json()).await;
        if replicas.len() == 2 {
            said.unwrap();
            assert_eq!(answer.status(), 202);
            accepted += 1;
        } else {
            let few = RDKafkaErrorCode::NotEnoughReplicas;
            assert!(matches!(said, Err((KafkaError::MessageProduction(code), _)) if code == few), "{said:?}");
            is_refused(answer, 503, "outcome_unknown", Some("1")).await;
            refused += 1;
        }
    }
    assert_eq!((accepted, refused), (1, 2));

    tokio::task::block_in_place(|| cluster.nodes[2].start().unwrap());
    until_in_sync(&scope, |replicas| replicas.len() == 2).await;
    for device in devices.values() {
        assert_eq!(app.submit(event(device).json()).await.status(), 202);
    }
}
