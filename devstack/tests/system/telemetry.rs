//! Real readings of real machines, through the whole system.

use std::path::Path;

use devstack::replay::{Posted, Replay};
use devstack::{Scope, until_caught_up};

use crate::prelude::*;

/// Sends one reading in this many, from every device; `make telemetry` sends all.
const ONE_IN: usize = 180;

#[tokio::test(flavor = "multi_thread")]
async fn real_readings_go_in_and_come_out_and_repeats_change_nothing() {
    let system = System::start("telemetry", &[]).await;
    let _worker = system.worker();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/telemetry.jsonl.gz");
    let replay = Replay::read(&file, |number| number % ONE_IN == 0).unwrap();
    let events = replay.events();
    assert!(replay.devices() > 20 && events > 500, "{events} of {} devices", replay.devices());
    let all = Posted::from([(202, events)]);

    assert_eq!(replay.post(&system.api.url(""), &system.token).await.unwrap(), all);
    replay.verify(&system.api.url(""), &system.token, Duration::from_secs(10)).await.unwrap();
    assert_eq!(system.rows().await, events);

    assert_eq!(replay.post(&system.api.url(""), &system.token).await.unwrap(), all);
    // Repeated events change nothing, so only the group's progress shows that they were processed.
    let Scope { endpoints, input_topic, group, .. } = system.scope.clone();
    blocking(move || until_caught_up(&endpoints.kafka_brokers, &input_topic, &group, TEST_TIMEOUT).unwrap()).await;
    replay.verify(&system.api.url(""), &system.token, Duration::from_secs(10)).await.unwrap();
    assert_eq!(system.rows().await, events);
    assert_eq!(system.dead_letters().await, 0);
}
