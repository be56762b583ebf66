//! Reads what really is in a topic.

use std::time::Duration;

use devstack::kit::{blocking, read_some};
use shared::kafka::Record;

use crate::app::TestApp;

/// The first records of the input topic: so many, or fewer if no more come.
pub(crate) async fn records(app: &TestApp, count: usize) -> Vec<Record> {
    let (brokers, topic) = (app.scope.endpoints.kafka_brokers.clone(), app.scope.input_topic.clone());
    blocking(move || read_some(&brokers, &topic, count, Duration::from_secs(10), Record::of)).await
}
