//! The outbox: numbers, ids and commits of an aggregate rise together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use shared::kafka::Cause;
use shared::kafka::ids::EventId;
use shared::kafka::schemas::EventSchema;
use shared::store::outbox::relay::{backlog, backlog_at_most};
use shared::store::outbox::{Boundary, MAX_DATA_BYTES, Outbound, publish};
use shared::store::{Failure, Tx, Work};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::prelude::*;

const SCHEMA: &str = r#"{"type": "object", "properties": {"n": {"type": "integer"}, "text": {"type": "string"}}}"#;
static HAPPENED: EventSchema = EventSchema::new("test.happened", 1, SCHEMA);
static ENDED: EventSchema = EventSchema::new("test.ended", 2, SCHEMA);
const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05.678901 UTC);

/// An event with this number of a boundary.
fn event(aggregate: &str, sequence: i64, data: impl Into<String>) -> Outbound {
    Outbound {
        schema: &HAPPENED,
        aggregate: aggregate.into(),
        sequence,
        id: EventId::generate(),
        source: "/tests",
        subject: format!("of {aggregate}"),
        at: NOW,
        cause: Cause::default(),
        data: data.into(),
    }
}

/// A command that publishes an event in each of several boundaries, and may fail after that.
struct Command {
    aggregates: BTreeSet<Arc<str>>,
    pause: Duration,
    fails: bool,
}

impl Work for Command {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let mut boundaries = Boundary::lock_all(tx, &self.aggregates).await?;
        tokio::time::sleep(self.pause).await;
        let events: Vec<_> =
            boundaries.iter_mut().map(|one| event(&one.aggregate().clone(), one.next_number(), "{}")).collect();
        publish(tx, boundaries, &events).await?;
        if self.fails { Err(Failure::failed("on purpose")) } else { Ok(()) }
    }
}

/// The numbers of each aggregate, in the order of the outbox's ids, as one snapshot shows them.
async fn numbers(kit: &Kit) -> BTreeMap<String, Vec<i64>> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT aggregate, sequence FROM outbox ORDER BY id").fetch_all(&kit.pool).await.unwrap();
    let mut all = BTreeMap::<String, Vec<i64>>::new();
    for (aggregate, sequence) in rows {
        all.entry(aggregate).or_default().push(sequence);
    }
    all
}

#[track_caller]
fn assert_dense(all: &BTreeMap<String, Vec<i64>>) {
    for (aggregate, numbers) in all {
        assert!(numbers.iter().copied().eq(1..=numbers.len() as i64), "{aggregate}: {numbers:?}");
    }
}

/// Commands of few aggregates at once, with long and short transactions, of which some are rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_sees_the_numbers_of_an_aggregate_from_1_without_a_gap() {
    let kit = Kit::new("outbox_order").await;
    let writers: Vec<_> = (0..50_u64)
        .map(|writer| {
            let store = kit.store.clone();
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(writer);
                let mut written = 0;
                for _ in 0..6 {
                    let aggregates = (0..rng.usize(1..4)).map(|_| format!("a-{}", rng.u8(0..5)).into()).collect();
                    let pause = Duration::from_millis(rng.u64(0..4));
                    let command = Command { aggregates, pause, fails: rng.u8(0..4) == 0 };
                    let done = store.transact("", &command).await;
                    // Whoever waits too long for a lock or a connection on a busy machine has done nothing.
                    let refused = |error: &Failure| error.class.is_outage() || error.reason == "on purpose";
                    assert!(done.as_ref().err().is_none_or(refused), "{done:?}");
                    written += done.map_or(0, |()| command.aggregates.len());
                }
                written
            })
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_dense(&numbers(&kit).await);
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let all = numbers(&kit).await;
    assert_dense(&all);
    assert!(written > 100 && all.values().map(Vec::len).sum::<usize>() >= written, "{written}");
    let last: Vec<(String, i64)> =
        sqlx::query_as("SELECT aggregate, last FROM sequences").fetch_all(&kit.pool).await.unwrap();
    for (aggregate, last) in last {
        assert_eq!(all.get(&aggregate).map_or(0, Vec::len) as i64, last, "{aggregate}");
    }
}

/// The first commands of aggregates, in any order of their names, do not wait for each other in a circle.
#[tokio::test(flavor = "multi_thread")]
async fn several_boundaries_are_locked_in_one_order_also_the_first_time() {
    let kit = Kit::new("outbox_deadlock").await;
    for round in 0..20 {
        let names = ["x", "y", "z"].map(|name| Arc::<str>::from(format!("{round}-{name}")));
        let of = |places: &[usize]| places.iter().map(|place| names[*place].clone()).collect::<BTreeSet<_>>();
        let tasks = [of(&[0, 1]), of(&[1, 2]), of(&[2, 0]), of(&[1]), of(&[0, 1, 2])].map(|aggregates| {
            let store = kit.store.clone();
            let command = Command { aggregates, pause: Duration::from_millis(2), fails: false };
            tokio::spawn(async move { store.transact("", &command).await })
        });
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
    assert_dense(&numbers(&kit).await);
    assert_eq!(kit.number("SELECT sum(last)::bigint FROM sequences").await, 20 * (2 + 2 + 2 + 1 + 3));
}

#[tokio::test]
async fn an_event_is_written_with_all_its_attributes_and_its_data_byte_for_byte() {
    struct Two;
    impl Work for Two {
        type Output = [EventId; 2];
        async fn run(&self, tx: &mut Tx<'_>) -> Result<[EventId; 2], Failure> {
            let mut boundary = Boundary::lock(tx, "v-1").await?;
            assert_eq!((boundary.last_number(), &**boundary.aggregate()), (0, "v-1"));
            let cause = Cause {
                correlation_id: Some("c-1".into()),
                causation_id: Some("e-0".into()),
                request_id: Some("r-1".into()),
                user_id: Some("al\"ice, ü".into()),
                traceparent: Some("00-1-2-01".into()),
            };
            let first = Outbound { cause, ..event("v-1", boundary.next_number(), "{ \"n\":1 , \"text\":\"\\u0000\"}") };
            let second = Outbound { schema: &ENDED, ..event("v-1", boundary.next_number(), "{}") };
            let ids = [first.id.clone(), second.id.clone()];
            publish(tx, vec![boundary], &[first, second]).await?;
            Ok(ids)
        }
    }
    let kit = Kit::new("outbox_row").await;
    let ids = kit.store.transact("", &Two).await.unwrap();
    type Row = (String, String, i64, String, String, String, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT event_id::text, aggregate, sequence, type, attributes::text, data, written_at > now() - interval '1m'
         FROM outbox ORDER BY id",
    )
    .fetch_all(&kit.pool)
    .await
    .unwrap();
    let [first, second] = &rows[..] else { panic!("{rows:?}") };
    let attributes = |row: &Row| serde_json::from_str::<Value>(&row.4).unwrap();
    assert_eq!((first.0.as_str(), first.1.as_str(), first.2), (ids[0].as_str(), "v-1", 1));
    assert_eq!((first.3.as_str(), first.5.as_str()), ("test.happened", "{ \"n\":1 , \"text\":\"\\u0000\"}"));
    assert!(first.6);
    let of_both = json!({
        "source": "/tests", "subject": "of v-1", "time": "2026-01-02T03:04:05.678901Z",
        "acceptedat": "2026-01-02T03:04:05.678901Z", "partitionkey": "v-1", "sequence": "00000000000000000001",
        "dataschema": "/schemas/test.happened/1",
    });
    let mut expected = of_both.clone();
    let cause = json!({
        "correlationid": "c-1", "causationid": "e-0", "requestid": "r-1", "userid": "al\"ice, ü",
        "traceparent": "00-1-2-01"
    });
    expected.as_object_mut().unwrap().extend(cause.as_object().unwrap().clone());
    assert_eq!(attributes(first), expected);
    let mut expected = of_both;
    expected["sequence"] = json!("00000000000000000002");
    expected["dataschema"] = json!("/schemas/test.ended/2");
    assert_eq!((attributes(second), second.3.as_str(), second.2), (expected, "test.ended", 2));
}

/// What a command takes and what it publishes.
type Publishing = fn(&mut Vec<Boundary>) -> Vec<Outbound>;
struct Wrong(Publishing);

impl Work for Wrong {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let names = BTreeSet::from(["a".into(), "b".into()]);
        let mut boundaries = Boundary::lock_all(tx, &names).await?;
        let events = self.0(&mut boundaries);
        publish(tx, boundaries, &events).await
    }
}

#[tokio::test]
async fn what_breaks_a_schema_or_the_numbers_is_not_committed_and_a_failure_of_the_command() {
    let kit = Kit::new("outbox_refuses").await;
    let cases: [(Publishing, &str); 9] = [
        (
            |all| vec![event("a", all[0].next_number(), r#"{"m":1}"#)],
            r#"breaks version 1 of its schema, at "": the schema has no m"#,
        ),
        (
            |all| vec![event("a", all[0].next_number(), r#"{"n":"planted"}"#)],
            r#"at "/n": it must be of the type integer"#,
        ),
        (|all| vec![event("a", all[0].next_number(), "{")], "it is not JSON"),
        (
            |all| {
                vec![event("a", all[0].next_number(), format!(r#"{{"text":"{}"}}"#, "x".repeat(MAX_DATA_BYTES - 10)))]
            },
            "65537 bytes: 65536 are the most",
        ),
        (
            |all| {
                all[0].next_number();
                Vec::new()
            },
            "the boundary a gave numbers up to 1, and not each of them has an event",
        ),
        (|_| vec![event("a", 1, "{}")], "the boundary a gave numbers up to 0"),
        (|all| vec![event("c", all[0].next_number(), "{}")], "of c, which is not locked"),
        (
            |all| {
                let (first, second) = (all[0].next_number(), all[0].next_number());
                vec![event("a", second, "{}"), event("a", first, "{}")]
            },
            "of a has the number 2 after 0",
        ),
        (
            |all| {
                let number = all[0].next_number();
                vec![event("a", number, "{}"), event("a", number, "{}")]
            },
            "of a has the number 1 after 1",
        ),
    ];
    for (publishing, why) in cases {
        let failure = kit.store.transact("", &Wrong(publishing)).await.unwrap_err();
        assert_eq!(failure.class, Class::Failed);
        assert!(failure.reason.contains(why) && !failure.reason.contains("planted"), "{failure}");
    }
    assert_eq!(kit.number("SELECT count(*) FROM outbox").await, 0);
    assert_eq!(kit.number("SELECT count(*) FROM sequences").await, 0, "nothing was committed");
    // As long as may be, and in both boundaries.
    let longest: Publishing = |all| {
        let text = "x".repeat(MAX_DATA_BYTES - r#"{"text":""}"#.len());
        let (a, b) = (all[0].next_number(), all[1].next_number());
        vec![event("b", b, format!(r#"{{"text":"{text}"}}"#)), event("a", a, "{}")]
    };
    kit.store.transact("", &Wrong(longest)).await.unwrap();
    kit.store.transact("", &Wrong(|_| Vec::new())).await.unwrap();
    assert_eq!(kit.number("SELECT count(*) FROM outbox").await, 2);
}

#[tokio::test]
async fn the_bound_of_the_backlog_is_never_too_low() {
    let kit = Kit::new("outbox_backlog").await;
    let counts = async || (backlog(&kit.store, 100).await.unwrap().0, backlog_at_most(&kit.store).await.unwrap());
    assert_eq!(counts().await, (0, 0));
    let work = Command { aggregates: BTreeSet::from(["a".into()]), pause: Duration::ZERO, fails: false };
    for expected in 1..=4 {
        kit.store.transact("", &work).await.unwrap();
        assert_eq!(counts().await, (expected, expected));
    }
    kit.sql("DELETE FROM outbox WHERE sequence = 1").await;
    assert_eq!(counts().await, (3, 3));
    kit.sql("DELETE FROM outbox WHERE sequence = 3").await;
    assert_eq!(counts().await, (2, 3), "with the gap");
}

#[tokio::test]
async fn numbers_end_and_names_are_not_too_long() {
    let kit = Kit::new("outbox_bounds").await;
    kit.sql("INSERT INTO sequences VALUES ('a', 9223372036854775807)").await;
    for (aggregate, why) in [
        ("a".to_owned(), "of a has the number 9223372036854775807 after 9223372036854775807"),
        ("x".repeat(257), "has a name of 257 bytes: 256 are the most"),
    ] {
        let work = Command { aggregates: BTreeSet::from([aggregate.into()]), pause: Duration::ZERO, fails: false };
        let failure = kit.store.transact("", &work).await.unwrap_err();
        assert_eq!(failure.class, Class::Failed);
        assert!(failure.reason.contains(why), "{failure}");
    }
    assert_eq!(kit.number("SELECT count(*) FROM outbox").await, 0);
}

/// A command waits for the one before it, but not for ever.
#[tokio::test]
async fn a_boundary_that_is_held_for_long_is_an_outage() {
    let kit = Kit::new("outbox_held").await;
    kit.sql("INSERT INTO sequences VALUES ('a', 7)").await;
    let mut holder = kit.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT last FROM sequences WHERE aggregate = 'a' FOR UPDATE").execute(&mut *holder).await.unwrap();
    let work = Command { aggregates: BTreeSet::from(["a".into()]), pause: Duration::ZERO, fails: false };
    let held = kit.store.transact("SET LOCAL lock_timeout = '200ms'", &work).await.unwrap_err();
    assert_eq!((held.class, held.is_lock_timeout()), (Class::OutageMet, true), "{held}");
    drop(holder);
    eventually("the lock is free", async || kit.store.transact("", &work).await.is_ok()).await;
    let taken: i64 = sqlx::query_scalar("SELECT sequence FROM outbox").fetch_one(&kit.pool).await.unwrap();
    assert_eq!(taken, 8, "numbers go on");
}
