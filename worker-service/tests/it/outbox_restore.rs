//! An outbox whose database was restored to an earlier time, and a topic that was made anew.

use std::sync::atomic::Ordering;

use worker_service::consumer::seek::Restored;
use worker_service::source::Source;

use crate::prelude::*;

const KEEP: &str = "CREATE TABLE kept_outbox AS TABLE outbox;
    CREATE TABLE kept_sequences AS TABLE sequences;
    CREATE TABLE kept_relay AS TABLE outbox_relay";
const RESTORE: &str = "TRUNCATE outbox, sequences, outbox_relay;
    INSERT INTO outbox OVERRIDING SYSTEM VALUE TABLE kept_outbox;
    INSERT INTO sequences TABLE kept_sequences;
    INSERT INTO outbox_relay TABLE kept_relay";

/// A database at an earlier time: it has 3 events of `a` that are not published, and does not know of what was
/// published since: those, 4 more of `a`, and 2 of `b`. Returns how many events the topic has.
async fn restored(kit: &Kit) -> usize {
    let relay = kit.relaying();
    kit.write_events("a", 5).await;
    kit.all_published(5).await;
    relay.end().await;
    kit.write_events("a", 3).await;
    kit.sql(KEEP).await;
    let relay = kit.relaying();
    kit.write_events("a", 4).await;
    kit.write_events("b", 2).await;
    kit.all_published(14).await;
    relay.end().await;
    kit.sql(RESTORE).await;
    assert_eq!(kit.count("SELECT count(*) FROM outbox").await, 3);
    assert_eq!(kit.count("SELECT last FROM sequences WHERE aggregate = 'a'").await, 8);
    14
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_outbox_repeats_no_event_and_uses_no_number_again() {
    let kit = Kit::new("outbox_restored", 2).await;
    let all = restored(&kit).await;
    let relay = kit.relaying();
    kit.all_published(all).await;
    assert_eq!(relay.commits.load(Ordering::SeqCst), 0, "the topic has them");
    assert_eq!(kit.count("SELECT last FROM sequences WHERE aggregate = 'a'").await, 12);
    assert_eq!(kit.count("SELECT last FROM sequences WHERE aggregate = 'b'").await, 2);
    kit.write_events("a", 1).await;
    kit.write_events("b", 1).await;
    kit.write_events("c", 1).await;
    kit.all_published(all + 3).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_compares_the_outbox_with_the_topic_before_commands_are_let_in() {
    let kit = Kit::new("outbox_seek", 2).await;
    let all = restored(&kit).await;
    let (client, published) = (client(&kit.scope), kit.published());
    let hooks = worker_service::domains::registry().after_restore;
    let run = async |source: &Source| {
        for hook in &hooks {
            hook(&Restored { client: &client, store: &kit.store, source }).await?;
        }
        anyhow::Ok(())
    };
    // Another handler's topic is not that of the outbox.
    run(&run_config(&kit.scope).sources.0[0]).await.unwrap();
    assert_eq!(kit.count("SELECT count(*) FROM outbox").await, 3);
    for _ in 0..2 {
        run(&published).await.unwrap();
        assert_eq!(kit.count("SELECT count(*) FROM outbox").await, 0);
        assert_eq!(kit.count("SELECT last FROM sequences WHERE aggregate = 'a'").await, 12);
    }
    kit.until("SELECT count(*) FROM outbox_relay WHERE holder IS NULL", 1).await;
    let relay = kit.relaying();
    kit.write_events("a", 1).await;
    kit.all_published(all + 1).await;
    let refused = run(&published).await.unwrap_err().to_string();
    assert!(refused.contains("stop all workers first"), "{refused}");
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_gets_what_is_published_from_then_on() {
    let kit = Kit::new("outbox_new_topic", 1).await;
    let relay = kit.relaying();
    kit.write_events("a", 30).await;
    kit.all_published(30).await;
    relay.end().await;
    kit.delete_topic(&kit.scope.input_topic).await;
    kit.make_topics(1).await;
    kit.write_events("b", 2).await;
    let relay = kit.relaying();
    kit.all_published(2).await;
    relay.end().await;
}
