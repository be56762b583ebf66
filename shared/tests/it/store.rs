//! Applying batches: the outcome depends only on the log, never on how it is cut into batches.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use shared::devices::DeviceDelivery;
use shared::devices::queries::Applied;
use shared::kafka::position::Position;

use crate::prelude::*;

/// A model of the tables, built from one event at a time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    /// The outcome of each event, by device and event id.
    events: BTreeMap<(String, String), String>,
    /// The version and the payload of each device.
    resources: BTreeMap<String, (i64, String)>,
}

impl Model {
    fn of(log: &[DeviceDelivery]) -> Self {
        let mut model = Self::default();
        let mut states: BTreeMap<String, Position> = BTreeMap::new();
        for decoded in log {
            let device = decoded.event.device_id.to_string();
            let key = (device.clone(), decoded.envelope.id.to_string());
            if model.events.contains_key(&key) {
                continue;
            }
            let newer = states.get(&device).is_none_or(|state| decoded.position.is_newer_than(state));
            model.events.insert(key, if newer { "applied" } else { "superseded" }.into());
            if newer {
                let resource = model.resources.entry(device.clone()).or_default();
                *resource = (resource.0 + 1, decoded.event.payload.as_str().to_owned());
                states.insert(device, decoded.position.clone());
            }
        }
        model
    }

    async fn found(kit: &Kit, prefix: &str) -> Self {
        let like = format!("{prefix}%");
        let events: Vec<(String, String, String)> =
            sqlx::query_as("SELECT device_id, event_id, outcome FROM events WHERE device_id LIKE $1")
                .bind(&like)
                .fetch_all(&kit.pool)
                .await
                .unwrap();
        let resources: Vec<(String, i64, String)> =
            sqlx::query_as("SELECT id, version, payload::text FROM resources WHERE id LIKE $1")
                .bind(&like)
                .fetch_all(&kit.pool)
                .await
                .unwrap();
        Self {
            events: events.into_iter().map(|(device, id, outcome)| ((device, id), outcome)).collect(),
            resources: resources.into_iter().map(|(id, version, payload)| (id, (version, payload))).collect(),
        }
    }
}

/// The number of events that were stored before, with the same payload or another.
fn repeated(applied: &Applied) -> usize {
    count(applied, Outcome::Repeated) + count(applied, Outcome::Conflicting)
}

/// The log of one case: its own devices, repeated ids, and positions that jump back, as of redriven records.
fn log(case: usize) -> impl Strategy<Value = Vec<DeviceDelivery>> {
    let record = (0..3u8, 0..12u8, prop::option::weighted(0.2, 0..40i64), 0..2i32);
    prop::collection::vec(record, 1..40).prop_map(move |records| {
        let make = |(offset, (device, id, origin, partition)): (i64, (u8, u8, Option<i64>, i32))| {
            let position = match origin {
                None => at(0, offset),
                Some(first) => Position { redriven: true, ..at(partition, first) },
            };
            event(&format!("c{case}-d{device}"), &format!("e{id}"), &format!(r#"{{"n": {offset}}}"#), position)
        };
        (0..).zip(records).map(make).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_the_models_however_the_log_is_cut() {
    let kit = Kit::new("model").await;
    let mut runner = TestRunner::deterministic();
    for case in 0..60 {
        let log = log(case).new_tree(&mut runner).unwrap().current();
        let cut = [1, 3, 7, 100][case % 4];
        for batch in log.chunks(cut) {
            let applied = kit.apply(batch).await;
            assert_eq!(count(&applied, Outcome::Forgotten), 0);
            // A repeat after a lost answer changes nothing.
            let again = kit.apply(batch).await;
            assert_eq!(repeated(&again), batch.len());
            assert_eq!(again.fences, applied.fences, "and is fenced at the same versions");
        }
        let found = Model::found(&kit, &format!("c{case}-")).await;
        assert_eq!(found, Model::of(&log), "case {case}, cut at {cut}: {log:#?}");
    }
}

/// A worker is frozen during its commit, and its successor has the same record: the successor's fence must have the
/// version that the first one wrote, because the first one may never send its fence.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_was_waited_for_is_told_with_the_version_it_has() {
    let kit = Kit::new("waited").await;
    kit.apply([&event("d", "e1", "{}", at(0, 1))]).await;
    let mut first = kit.pool.begin().await.unwrap();
    for statement in [
        r#"INSERT INTO events SELECT (jsonb_populate_record(events, '{"event_id": "e2", "offset": 2}')).* FROM events"#,
        r#"UPDATE resources SET version = 2, event_id = 'e2', "offset" = 2"#,
    ] {
        assert_eq!(sqlx::query(statement).execute(&mut *first).await.unwrap().rows_affected(), 1);
    }
    let store = kit.store.clone();
    let second = tokio::spawn(async move { queries::apply_batch(&store, &[&event("d", "e2", "{}", at(0, 2))]).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("it waits for the first", async || kit.number(waits).await == 1).await;
    first.commit().await.unwrap();
    let applied = second.await.unwrap().unwrap();
    assert_eq!((repeated(&applied), applied.fences), (1, vec![(id("d").cache_key(), 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_events_of_the_same_devices_lose_nothing() {
    let kit = Kit::new("two").await;
    for worker in workers(&kit.store, (40, 5, 1), &[Class::Again]) {
        worker.await.unwrap();
    }
    let wrong = "SELECT count(*) FROM resources WHERE version <>
                 (SELECT count(*) FROM events WHERE device_id = resources.id AND outcome = 'applied')";
    assert_eq!(kit.number(wrong).await, 0, "a version counts the events applied");
    assert_eq!(kit.number("SELECT count(*) FROM events").await, 3 * 40 * 5);
}

/// Each batch has an event that changes a device, and one that comes too late for the other device. Rows are locked in one
/// order, whatever happens to them: otherwise each batch would have one row, and wait for the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_new_and_late_events_of_the_same_devices_do_not_wait_for_each_other() {
    let kit = Kit::new("late").await;
    kit.apply([&event("a", "e0", "{}", at(9, 10)), &event("b", "e0", "{}", at(9, 11))]).await;
    let mut first = kit.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM resources FOR UPDATE").execute(&mut *first).await.unwrap();
    // Not in the order of the log, so that each event is decided on.
    let workers = [(0, "b", "a"), (1, "a", "b")].map(|(partition, new, late)| {
        let store = kit.store.clone();
        let id = format!("from-{partition}");
        tokio::spawn(async move {
            let batch = [event(new, &id, "{}", at(partition, 20)), event(late, &id, "{}", at(partition, 1))];
            let batch: Vec<_> = batch.iter().collect();
            while let Err(error) = queries::apply_batch(&store, &batch).await {
                assert!(error.class == Class::Again && !error.to_string().contains("deadlock"), "{error}");
            }
        })
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("both wait", async || kit.number(waits).await == 2).await;
    first.rollback().await.unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(kit.number("SELECT count(*) FROM resources WHERE version = 2 AND event_id <> ''").await, 2);
    assert_eq!(kit.number("SELECT count(*) FROM events WHERE outcome = 'superseded'").await, 2);
}

/// Numbers are compared by value, with all digits; the comparison is the same within a batch and with the table.
#[tokio::test]
async fn a_repeat_is_conflicting_or_not_whether_it_comes_in_a_batch_or_later() {
    let kit = Kit::new("conflict_numbers").await;
    let pairs = [
        ("1", "1.0", false),
        ("1.0", "1.00", false),
        ("100", "1e2", false),
        ("0", "-0.0", false),
        ("9007199254740993", "9007199254740993.0", false),
        // Equal as IEEE 754 doubles, but different.
        ("0.1", "0.1000000000000000055511151231257827021181583404541015625", true),
        ("9007199254740993", "9007199254740992.5", true),
        ("1e-300", "1.00000000000000000000001e-300", true),
        ("1e300", "1.00000000000000000000001e300", true),
        (r#""a""#, r#""\u0061""#, false),
        (r#"[1,{"b":1,"c":2}]"#, r#"[1.0,{"c":2,"b":1.0}]"#, false),
    ];
    for (place, (one, other, differ)) in pairs.into_iter().enumerate() {
        let [one, other] = [one, other].map(|value| format!(r#"{{"v":{value}}}"#));
        for (first, again) in [(&one, &other), (&other, &one)] {
            let id = |way: &str| format!("{way}-{place}-{}", first == &one);
            let (kept, same) = (event("d", &id("in"), first, at(0, 1)), event("d", &id("in"), again, at(0, 2)));
            let together = kit.apply([&kept, &same]).await;
            let (kept, later) = (event("d", &id("later"), first, at(0, 3)), event("d", &id("later"), again, at(0, 4)));
            kit.apply([&kept]).await;
            let apart = kit.apply([&later]).await;
            let found = [together, apart].map(|applied| (repeated(&applied), count(&applied, Outcome::Conflicting)));
            assert_eq!(found, [(1, usize::from(differ)); 2], "{first}, then {again}");
        }
    }
    // Compared with the stored event, not with the first copy in the batch.
    let (stored, other) = (event("d", "e", "{}", at(1, 1)), event("d", "e", r#"{"v":1}"#, at(1, 2)));
    kit.apply([&stored]).await;
    let applied = kit.apply([&other, &stored, &other]).await;
    assert_eq!((repeated(&applied), count(&applied, Outcome::Conflicting)), (3, 2));
}

#[tokio::test]
async fn each_event_of_a_batch_is_told_with_its_outcome_and_version() {
    let kit = Kit::new("each").await;
    let apply = async |events: &[&DeviceDelivery]| {
        let applied = kit.apply(events.iter().copied()).await;
        applied.events.iter().map(|event| (event.outcome, event.version)).collect::<Vec<_>>()
    };
    let at_place = |device: &str, id: &str, n: i64| event(device, id, &format!(r#"{{"n":{n}}}"#), at(0, n));
    let (b1, a1, b2) = (at_place("b", "1", 1), at_place("a", "1", 2), at_place("b", "2", 3));
    // One with another payload than the first copy, and one with a position before the newest.
    let (other, late) = (at_place("b", "1", 4), at_place("b", "3", 0));
    use Outcome::{Applied, Conflicting, Forgotten, Repeated, Superseded};
    let expected = [
        (Applied, Some(1)),
        (Applied, Some(1)),
        (Applied, Some(2)),
        (Repeated, Some(2)),
        (Conflicting, Some(2)),
        (Superseded, Some(2)),
    ];
    assert_eq!(apply(&[&b1, &a1, &b2, &b1, &other, &late]).await, expected, "in their order, not by device");
    let b4 = at_place("b", "4", 9);
    let expected = [(Conflicting, Some(3)), (Repeated, Some(3)), (Applied, Some(3)), (Repeated, Some(1))];
    assert_eq!(apply(&[&other, &late, &b4, &a1]).await, expected, "beside what was stored before");
    queries::erase(&kit.store, &id("a"), None).await.unwrap();
    assert_eq!(apply(&[&a1, &b4]).await, [(Forgotten, None), (Repeated, Some(3))]);
    assert_eq!(apply(&[&a1]).await, [(Forgotten, None)]);
}

#[tokio::test]
async fn a_resource_is_rendered_as_the_contract_says() {
    let kit = Kit::new("rendered").await;
    assert_eq!(queries::resource(&kit.store, &id("device-123")).await.unwrap(), None);
    kit.apply([&event("device-123", "e-1", r#"{"status": "online", "temp_c": 37.2}"#, at(0, 1))]).await;
    let rendered = kit.body("device-123").await;
    let start = concat!(
        r#"{"version":1,"id":"device-123","payload":{"status": "online", "temp_c": 37.2},"event_id":"e-1","#,
        r#""accepted_at":"2023-11-14T22:13:20.123456Z","updated_at":""#
    );
    assert!(rendered.starts_with(start), "{rendered}");
    assert!(serde_json::from_str::<serde_json::Value>(&rendered).is_ok());
}

#[tokio::test]
async fn what_the_database_refuses_is_classified() {
    let kit = Kit::new("refused").await;
    let mut batch = event("d", "e", "{}", at(0, 1));
    batch.envelope.user_id = Some("a\0b".into());
    assert_eq!(queries::apply_batch(&kit.store, &[&batch]).await.unwrap_err().class, Class::Poison);
    batch.envelope.user_id = None;
    for (raise, class) in [
        ("23514", Class::Failed),
        ("P0001", Class::Failed),
        ("40001", Class::Again),
        ("53100", Class::OutageMet),
        ("57014", Class::OutageMet),
        ("57P01", Class::OutageMet),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{raise}'; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON events EXECUTE FUNCTION refuse()"
        )))
        .execute(&kit.pool)
        .await
        .unwrap();
        let error = queries::apply_batch(&kit.store, &[&batch]).await.unwrap_err();
        assert_eq!((error.class, error.reason), (class, format!("SQLSTATE {raise}: no")));
    }
}

#[tokio::test]
async fn a_repeat_is_known_by_its_event_and_not_by_its_place() {
    let kit = Kit::new("places").await;
    let old = event("old", "e", "{}", Position { redriven: true, ..at(0, 7) });
    kit.apply([&old]).await;
    // Redriven twice, and in a batch with a record of the recreated topic that has the same offset.
    let new = event("new", "e", "{}", at(0, 7));
    let applied = kit.apply([&old, &new]).await;
    assert_eq!((count(&applied, Outcome::Applied), repeated(&applied)), (1, 1));
    let version = queries::resource(&kit.store, &"old".parse().unwrap()).await.unwrap().unwrap().version;
    assert_eq!(version, 1, "one event, one version");
}
