//! The relay: every event of the outbox appears in the topic once, in the order of its aggregate.

use std::sync::atomic::Ordering;

use rdkafka::message::OwnedMessage;
use shared::store::outbox::doorbell::Doorbell;

use crate::prelude::*;

/// A doorbell of this database that is rung by commands.
fn doorbell(kit: &Kit) -> Doorbell {
    let doorbell = Doorbell::new(kit.store.clone());
    let rings = doorbell.clone();
    tokio::spawn(async move { rings.run().await });
    doorbell
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_once_and_in_order_by_one_of_two_relays() {
    let kit = Kit::new("outbox", 3).await;
    let (one, two) = (kit.relaying(), kit.relaying());
    let doorbell = doorbell(&kit);
    let aggregates: Vec<_> = (0..7).map(|n| format!("v{n}")).collect();
    // Five writers an aggregate.
    let writers = aggregates.iter().cycle().take(35).map(|aggregate| {
        let (kit, doorbell) = (&kit, &doorbell);
        async move {
            for events in [1, 3, 1, 2, 1] {
                kit.write_events(aggregate, events).await;
                doorbell.ring();
            }
        }
    });
    join_all(writers).await;
    let records = kit.all_published(35 * 8).await;

    let first = records.iter().find(|record| record.key() == Some(b"v0")).unwrap();
    let told = |name| header(first, name);
    assert_eq!(first.payload(), Some(&br#"{"n":1}"#[..]));
    assert_eq!(told("ce_type").as_deref(), Some("test.v1"));
    assert_eq!(told("ce_sequence").as_deref(), Some("00000000000000000001"));
    assert_eq!(told("ce_partitionkey").as_deref(), Some("v0"));
    assert_eq!(told("ce_correlationid").as_deref(), Some("c"));

    let commits = [&one, &two].map(|relay| relay.commits.load(Ordering::SeqCst));
    assert!(commits.contains(&0) && commits != [0, 0], "one publishes: {commits:?}");
    // The one that ends gives its lease back, and the other one takes it.
    let before = kit.relay_holder().await;
    let (ends, stays) = if commits[0] > 0 { (one, two) } else { (two, one) };
    ends.end().await;
    kit.write_events("v0", 2).await;
    kit.all_published(35 * 8 + 2).await;
    assert_ne!(kit.relay_holder().await, before);
    assert!(stays.commits.load(Ordering::SeqCst) > 0);
    stays.end().await;
    kit.until("SELECT count(*) FROM outbox_relay WHERE holder IS NULL", 1).await;
}

/// The numbers of the records, as they are read.
fn numbers(records: &[OwnedMessage]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.payload().unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_commits_late_is_published_although_later_ids_were() {
    let kit = Kit::new("late_commit", 1).await;
    let relay = kit.relaying();
    let late = kit.begin_events("late", 2).await;
    kit.write_events("early", 3).await;
    kit.all_published(3).await;
    late.commit().await.unwrap();
    let records = kit.all_published(5).await;
    assert_eq!(numbers(&records[3..]), [r#"{"n":1}"#, r#"{"n":2}"#]);
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_held_holds_nothing_up() {
    let kit = Kit::new("held_snapshot", 2).await;
    let relay = kit.relaying();
    let mut held = kit.pool.begin().await.unwrap();
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; CREATE TABLE x (); SELECT count(*) FROM outbox")
        .execute(&mut *held)
        .await
        .unwrap();
    for events in [1, 500, 1_500] {
        kit.write_events("a", events).await;
        kit.write_events("b", 1).await;
    }
    kit.all_published(2_004).await;
    held.rollback().await.unwrap();
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_on_while_another_producers_transaction_holds_up_the_topic() {
    let kit = Kit::new("held_topic", 1).await;
    let foreign = kit.transactional("foreign");
    foreign.open("a", &["1"]);
    let relay = kit.relaying();
    kit.relay_holder().await;
    kit.write_events("a", 3).await;
    // What is behind the open transaction cannot be compared with the outbox.
    assert_eq!((relay.commits.load(Ordering::SeqCst), kit.count("SELECT count(*) FROM outbox").await), (0, 3));
    foreign.abort();
    kit.all_published(3).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_goes_on_when_postgresql_is_back() {
    let kit = Kit::new("relay_without_postgresql", 1).await;
    let (proxy, database_url) = Proxy::before(&kit.scope.database_url).unwrap();
    let relay = kit.relaying_on(&Scope { database_url, ..kit.scope.clone() });
    kit.write_events("a", 2).await;
    kit.all_published(2).await;
    proxy.cut();
    kit.write_events("a", 2).await;
    kit.write_events("b", 1).await;
    proxy.mend();
    kit.all_published(5).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_is_heard_by_other_processes() {
    let kit = Kit::new("doorbell", 1).await;
    let mut bell = kit.store.listen_outbox().await.unwrap().unwrap();
    let doorbell = doorbell(&kit);
    (0..100).for_each(|_| doorbell.ring());
    tokio::time::timeout(TEST_TIMEOUT, bell.rung()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_has_nothing_to_do_asks_once_a_second() {
    let kit = Kit::new("idle_relay", 1).await;
    let relay = kit.relaying();
    kit.write_events("a", 1).await;
    kit.all_published(1).await;
    // How often the table was looked at, by a renewal of the lease too. An idle process of PostgreSQL tells its numbers
    // after ten seconds.
    const LOOKED: &str = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'outbox'";
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (from, before) = (Instant::now(), kit.count(LOOKED).await);
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (after, seconds) = (kit.count(LOOKED).await, from.elapsed().as_secs_f64());
    let (asked, a_second) = (after - before, (after - before) as f64 / seconds);
    println!("asked {a_second:.2} times a second");
    assert!(asked > 3 && a_second < 1.3, "{asked} in {seconds} s");
    relay.end().await;
}
