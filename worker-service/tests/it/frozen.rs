//! A worker that is frozen within a transaction, while it holds locks.

use crate::prelude::*;

/// While this table has a row, every insert sleeps after its rows are written and locked.
const SLOW: &str = "CREATE TABLE slow (yes boolean);
    INSERT INTO slow VALUES (true);
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF EXISTS (SELECT FROM slow) THEN PERFORM pg_sleep(1); END IF;
      RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow()";
const IN_THE_INSERT: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'worker-service' AND wait_event = 'PgSleep'";
const HOLDING_LOCKS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'worker-service' AND state = 'idle in transaction'";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_frozen_in_a_transaction_does_not_hold_its_successor() {
    let kit = Kit::new("held", 1).await;
    kit.sql(SLOW).await;
    kit.events("a", 1..=20).await;
    let frozen = kit.process().await;
    kit.until(IN_THE_INSERT, 1).await;
    frozen.service.freeze().unwrap();
    kit.sql("DELETE FROM slow").await;
    kit.until(HOLDING_LOCKS, 1).await;

    // A worker of another group does not wait for the frozen one's session to end, so it meets its locks.
    let began = Instant::now();
    let other = Scope { group: format!("{}-other", kit.scope.group), ..kit.scope.clone() };
    let other = Worker::start(&run_config(&other)).unwrap();
    kit.until("SELECT count(*) FROM events", 20).await;
    assert!(began.elapsed() < Duration::from_secs(20), "the server let go: {:?}", began.elapsed());
    assert_eq!(kit.count(HOLDING_LOCKS).await, 0);
    other.stop().await.unwrap();

    let successor = kit.worker();
    kit.apply("a", "21", r#"{"n":21}"#).await;
    assert_eq!(kit.version("a").await, Some(21));

    // The thawed worker's work is dropped: neither an event nor an offset is written.
    frozen.service.thaw().unwrap();
    frozen.tells("The worker itself was frozen").await;
    kit.apply("a", "22", r#"{"n":22}"#).await;
    kit.end_at(successor, 22).await;
    kit.apply("a", "23", r#"{"n":23}"#).await;
    frozen.end().await;
    assert_eq!((kit.version("a").await, kit.committed().await[&0]), (Some(23), 23));
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}
