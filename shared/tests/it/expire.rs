//! The expiry: the rows that it deletes, and the pages that it reads to find them.

use sqlx::AssertSqlSafe;

use crate::prelude::*;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Deletes all expired rows in pieces, and returns the number of rows of each piece.
async fn expire(kit: &Kit, age: Age, piece: u32) -> Vec<u64> {
    let mut pieces = Vec::new();
    loop {
        let expired = queries::expire(&kit.store, age, MONTH, piece).await.unwrap();
        let Expired::Rows { rows, more, behind } = expired else { panic!("{expired:?}") };
        assert_eq!(behind == Some(Duration::ZERO), !more, "{expired:?}");
        pieces.push(rows);
        if !more {
            return pieces;
        }
    }
}

async fn count(kit: &Kit, condition: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM events WHERE {condition}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&kit.pool).await.unwrap()
}

/// Inserts the rows `first` to `last` as a worker does, with the time `recorded_at`. PostgreSQL
/// updates its statistics at once, and not some seconds later.
async fn fill(kit: &Kit, first: u32, last: u32, recorded_at: &str) {
    let sql = format!(
        r#"INSERT INTO events (device_id, event_id, type, payload, accepted_at, occurred_at, topic, partition, "offset",
                               appended_at, outcome, recorded_at)
           SELECT 'd', n::text, 't', jsonb_build_object('text', repeat('x', 900)), now(), now(), 't', 0, n, now(),
                  'applied', {recorded_at}
           FROM generate_series({first}, {last}) AS n;
           SELECT pg_stat_force_next_flush()"#
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&kit.pool).await.unwrap();
}

#[tokio::test]
async fn what_is_past_its_retention_goes_in_pieces_and_nothing_else() {
    let kit = Kit::new("expire").await;
    let log: Vec<_> = (0..5_010).map(|n| event("d", &n.to_string(), "{}", at(0, n))).collect();
    for batch in log.chunks(1_000) {
        kit.apply(batch).await;
    }
    assert_eq!(expire(&kit, Age::Written, 1_000).await, [0], "their records say 2023, and they were written just now");
    // Half of the rows were written long ago, the others by an earlier version, which count by their append time. Two
    // rows differ: one was written today, and one of the earlier version was appended today.
    kit.sql(
        "UPDATE events SET recorded_at = CASE WHEN event_id::int % 2 = 0 THEN appended_at END;
         UPDATE events SET recorded_at = now() WHERE event_id = '1';
         UPDATE events SET recorded_at = NULL, appended_at = now() WHERE event_id = '2';
         UPDATE events SET accepted_at = now() WHERE event_id = '3';
         UPDATE events SET appended_at = now() WHERE event_id = '4'",
    )
    .await;
    // The last row of a piece is left for the next one, because other rows may have the same time.
    assert_eq!(expire(&kit, Age::Written, 1_000).await, [999, 999, 506]);
    assert_eq!(count(&kit, "recorded_at IS NULL").await, 2_505, "those of before are none of these");
    assert_eq!(expire(&kit, Age::Appended, 2_000).await, [1_999, 505]);
    assert_eq!((count(&kit, "true").await, count(&kit, "event_id IN ('1', '2')").await), (2, 2));
    assert_eq!(
        queries::resource(&kit.store, &"d".parse().unwrap()).await.unwrap().unwrap().version,
        5_010,
        "the state stays"
    );
}

/// All rows of a batch have the same time; in a restored table millions may have it. And a time may be infinite.
#[tokio::test]
async fn rows_of_one_time_go_too_however_many_they_are() {
    let kit = Kit::new("expire_ties").await;
    fill(&kit, 1, 1, "now() - interval '60 days'").await;
    fill(&kit, 2, 250, "now() - interval '50 days'").await;
    fill(&kit, 251, 270, "'-infinity'").await;
    fill(&kit, 271, 280, "now() - interval '29 days'").await;
    fill(&kit, 281, 290, "'infinity'").await;
    // The delay is known as soon as the next time is finite.
    let expired = queries::expire(&kit.store, Age::Written, MONTH, 10).await.unwrap();
    assert_eq!(expired, Expired::Rows { rows: 10, more: true, behind: None });
    let expired = queries::expire(&kit.store, Age::Written, MONTH, 12).await.unwrap();
    let Expired::Rows { rows: 11, more: true, behind: Some(behind) } = expired else { panic!("{expired:?}") };
    assert_eq!((behind.as_secs() + 60) / (24 * 3600), 20, "the next is of fifty days ago: {behind:?}");
    let pieces = expire(&kit, Age::Written, 100).await;
    assert_eq!(pieces, [100, 100, 49]);
    assert_eq!(count(&kit, "event_id::int > 270").await, 20);
    assert_eq!(count(&kit, "true").await, 20);
}

/// Five thousand emptied pages are not vacuumed yet. A piece reads only its own rows: not those pages, and not their
/// index entries.
#[tokio::test]
async fn a_piece_reads_nothing_of_what_is_gone() {
    const EMPTIED: u32 = 40_000;
    let kit = Kit::new("expire_reads").await;
    kit.sql("ALTER TABLE events SET (autovacuum_enabled = off)").await;
    fill(&kit, 1, EMPTIED, "now() - interval '90 days' + n * interval '1 s'").await;
    fill(&kit, EMPTIED + 1, EMPTIED + 1_000, "now() - interval '60 days' + n * interval '1 s'").await;
    let mut rows = 0;
    while rows < u64::from(EMPTIED) {
        let expired = queries::expire(&kit.store, Age::Written, MONTH, 5_001).await.unwrap();
        let Expired::Rows { rows: piece, .. } = expired else { panic!("{expired:?}") };
        rows += piece;
    }
    assert_eq!(rows, u64::from(EMPTIED));
    let blocks = async |kit: &Kit| {
        // A connected backend reports its statistics at some later time, a disconnecting one at once.
        let idle =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test'";
        eventually("the others left", async || kit.number(idle).await == 0).await;
        let read = "SELECT (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
                    FROM pg_statio_user_tables WHERE relname = 'events'";
        kit.number(read).await
    };
    kit.store.close().await;
    let before = blocks(&kit).await;
    let kit = Kit { store: kit.reopened(), ..kit };
    let expired = queries::expire(&kit.store, Age::Written, MONTH, 101).await.unwrap();
    assert!(matches!(expired, Expired::Rows { rows: 100, more: true, .. }), "{expired:?}");
    kit.store.close().await;
    let read = blocks(&kit).await - before;
    assert!(read < 1_000, "one piece of a hundred rows read {read} blocks");
}

/// A server whose clock was set back writes rows before the expiry's position.
#[tokio::test]
async fn what_is_behind_the_position_goes_within_the_hour() {
    let kit = Kit::new("expire_rewinds").await;
    fill(&kit, 1, 10, "now() - interval '50 days'").await;
    assert_eq!(expire(&kit, Age::Written, 100).await, [10]);
    fill(&kit, 11, 20, "now() - interval '60 days'").await;
    assert_eq!(expire(&kit, Age::Written, 100).await, [0], "it goes on where it was, as after a restart");
    let hour_later = "UPDATE event_expiry SET rewound_at = rewound_at - interval '61 minutes'";
    kit.sql(hour_later).await;
    assert_eq!(expire(&kit, Age::Written, 100).await, [10]);
}

#[tokio::test]
async fn of_several_workers_one_deletes_and_without_its_index_none() {
    let kit = Kit::new("expire_turns").await;
    fill(&kit, 1, 10, "now() - interval '60 days'").await;
    let mut other = kit.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('events.prune', 0))")
        .execute(&mut *other)
        .await
        .unwrap();
    assert_eq!(queries::expire(&kit.store, Age::Written, MONTH, 100).await.unwrap(), Expired::Elsewhere);
    other.rollback().await.unwrap();
    assert_eq!(expire(&kit, Age::Written, 100).await, [10]);

    kit.sql("DROP INDEX events_written").await;
    let error = queries::expire(&kit.store, Age::Written, MONTH, 100).await.unwrap_err();
    assert_eq!(error.reason, "the index events_written is missing: run `worker-service setup`");
}
