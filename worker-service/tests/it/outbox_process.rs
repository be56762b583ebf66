//! Relays that are frozen or killed at the worst moment: between a commit in Kafka and the deletion of its rows.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use shared::store::outbox::relay::read;
use tokio_util::sync::CancellationToken;
use worker_service::outbox::producer::{Transactional, transactional_id};

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process that other tests start: it runs until they kill it"]
async fn a_relay_that_other_tests_start() {
    be_a_relay().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_before_it_deletes_repeats_nothing() {
    let kit = Kit::new("relay_dies", 2).await;
    kit.write_events("a", 10).await;
    kit.write_events("b", 10).await;
    let dies = Mutex::new(kit.relay_process("die"));
    until("it has died", async || dies.lock().unwrap().has_ended()).await;
    let committed = kit.records(1).await.len();
    assert_eq!(kit.count("SELECT count(*) FROM outbox").await, 20, "{committed} of them are in the topic");
    kit.write_events("a", 1).await;
    // It takes over when the lease has ended.
    let relay = kit.relaying();
    kit.all_published(21).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_frozen_beyond_its_lease_repeats_nothing_when_it_thaws() {
    let kit = Kit::new("relay_frozen", 2).await;
    let frozen = kit.relay_process("freeze");
    kit.write_events("a", 5).await;
    until("it is frozen", async || frozen.is_frozen()).await;
    let holder = kit.relay_holder().await;
    assert!(holder.contains(&format!(":{}:", frozen.pid())), "{holder}");
    assert_eq!(kit.count("SELECT count(*) FROM outbox").await, 5, "they are in the topic");
    kit.write_events("a", 5).await;
    kit.write_events("b", 5).await;
    let relay = kit.relaying();
    kit.all_published(15).await;
    assert_ne!(kit.relay_holder().await, holder);
    frozen.signal("-CONT");
    for n in 1..=5 {
        kit.write_events("a", 1).await;
        kit.write_events("b", 1).await;
        kit.all_published(15 + 2 * n).await;
    }
    let commits = relay.commits.load(Ordering::SeqCst);
    assert!(commits >= 5, "the frozen one has published nothing more: {commits}");
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_relay_shuts_out_the_one_before() {
    let kit = Kit::new("relay_fenced", 1).await;
    let id = transactional_id("0190b6f0-0000-7000-8000-000000000001", &kit.scope.input_topic);
    let open = async || {
        let (client, topic, id) = (client(&kit.scope), kit.scope.input_topic.clone(), id.clone());
        blocking(move || Transactional::open(&client, &topic, &id, &CancellationToken::new()).unwrap()).await
    };
    kit.write_events("a", 3).await;
    let rows = read(&kit.store, 0, 100, 1 << 20).await.unwrap();
    let before = open().await;
    let (before, ends) = blocking({
        let rows = rows.clone();
        move || {
            let ends = before.publish(&rows).unwrap();
            (before, ends)
        }
    })
    .await;
    assert_eq!(ends, [(0, 3)].into());
    let next = open().await;
    let is_fenced = blocking({
        let rows = rows.clone();
        move || {
            let refused = before.publish(&rows).unwrap_err();
            (before.is_fenced(), format!("{refused:#}"))
        }
    })
    .await;
    assert!(is_fenced.0, "{is_fenced:?}");
    let ends = blocking(move || next.publish(&rows).unwrap()).await;
    // A marker is behind the first three.
    assert_eq!((ends, kit.records(6).await.len()), ([(0, 7)].into(), 6));
}

/// The alarms without a Prometheus read this line (infra/terraform/alarms.tf).
#[tokio::test(flavor = "multi_thread")]
async fn that_nobody_publishes_is_in_the_log_of_those_that_could() {
    let kit = Kit::new("relay_waits", 1).await;
    kit.write_events("a", 3).await;
    let rows = "UPDATE outbox SET written_at = now() - interval '1 hour';
                UPDATE outbox_relay SET holder = 'another', held_until = now() + interval '1 hour'";
    sqlx::raw_sql(rows).execute(&kit.pool).await.unwrap();
    let worker = kit.process_with(&[("WORKER_ONLY", "devices,outbox-relay")]).await;
    let lines = || told(&worker.service.log(), "events of the outbox wait to be published");
    until("it says so", async || !lines().is_empty()).await;
    let line = &lines()[0];
    assert_eq!((&line["level"], &line["rows"]), (&json!("WARN"), &json!(3)));
    assert!((3_600.0..3_700.0).contains(&line["oldest_s"].as_f64().unwrap()), "{line}");
    assert_eq!(lines().len(), 1, "once a minute");
    worker.end().await;
}
