//! Records that the broker no longer has are reported as data loss.

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_before_they_were_consumed_are_counted_as_lost() {
    let (kit, worker) = Kit::with_worker("losses", 1).await;
    kit.events("a", 1..=3).await;
    kit.until("SELECT count(*) FROM events", 3).await;
    kit.end_at(worker, 3).await;
    kit.events("a", 4..=8).await;
    kit.delete_records(7).await;

    let worker = kit.process().await;
    kit.until("SELECT count(*) FROM events WHERE event_id = '8'", 1).await;
    worker.tells("Records are gone before they were consumed").await;
    assert_eq!(worker.sample("records_lost_total").await, Some(4.0));
    worker.end().await;

    // The same at the end of a partition that stays idle.
    kit.event("a", "9", "{}").await;
    kit.event("a", "10", "{}").await;
    kit.delete_records(10).await;
    let worker = kit.process().await;
    until("they are counted", async || worker.sample("records_lost_total").await == Some(2.0)).await;
    kit.until_committed(0, 10).await;
    worker.end().await;
}

/// The gap is met while a batch is applied, and SIGTERM arrives before that batch is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_met_just_before_the_end_is_told_before_the_end() {
    let (kit, worker) = Kit::with_process("last_loss", 1).await;
    kit.apply("a", "1", "{}").await;
    kit.end_at(worker, 1).await;
    kit.events("a", 2..=5).await;
    kit.delete_records(4).await;

    let mut lock = kit.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let worker = kit.process().await;
    const WAITING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                           WHERE d.datname = current_database() AND NOT granted";
    kit.until(WAITING, 1).await;
    let ending = tokio::spawn(worker.end_and_log());
    lock.rollback().await.unwrap();
    let log = ending.await.unwrap();
    let told = told(&log, "data loss: the broker no longer has records that were not consumed").remove(0);
    assert_eq!((&told["expected"], &told["low"], &told["lost"]), (&1.into(), &4.into(), &3.into()), "{told}");
}
