//! Reads the records of a topic.

use std::time::Duration;

use devstack::kit::{blocking, read_some};
use shared::cache::Fencer;
use shared::devices::{decode, queries};
use shared::kafka::Record;

use crate::app::TestApp;

/// The first `count` records of the input topic, or fewer if no more come.
pub(crate) async fn records(app: &TestApp, count: usize) -> Vec<Record> {
    records_of(app, &app.scope.input_topic, count).await
}

/// The same of another topic.
pub(crate) async fn records_of(app: &TestApp, topic: &str, count: usize) -> Vec<Record> {
    let (brokers, topic) = (app.scope.endpoints.kafka_brokers.clone(), topic.to_owned());
    blocking(move || read_some(&brokers, &topic, count, Duration::from_secs(10), Record::of)).await
}

/// Acts as the worker: applies every event of the topic, and writes its fence.
pub(crate) async fn work(app: &TestApp, count: usize) {
    let records = records(app, count).await;
    assert_eq!(records.len(), count);
    let decoded: Vec<_> = records.iter().map(|record| decode(record).unwrap()).collect();
    let applied = queries::apply_batch(&app.store(), &decoded.iter().collect::<Vec<_>>()).await.unwrap();
    Fencer::new(app.cache(), app.store()).fence(&applied.fences).await;
}
