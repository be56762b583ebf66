//! Tests of the health report.

use serde_json::json;

use super::*;
use crate::consumer::tasks::TaskHealth;

pub(super) fn status(health: &GroupHealth) -> (bool, String) {
    let (ready, report) = health.report();
    (ready, report["status"].as_str().unwrap().to_owned())
}

/// The health of a group with one partition.
fn joined() -> GroupHealth {
    let health = GroupHealth::new("g");
    health.joined();
    health.begun(0, Some(7));
    health
}

#[test]
fn a_topic_that_is_not_as_it_has_to_be_is_told_and_waited_for_by_nobody() {
    let health = GroupHealth::new("g");
    health.joined();
    health.topics(vec!["t: cleanup.policy=compact".to_owned()]);
    assert_eq!(status(&health), (true, "ready".into()));
    assert_eq!(health.report().1["warnings"], json!(["t: cleanup.policy=compact"]));
    // Two handlers of the same stream have the same warning.
    let other = GroupHealth::new("h");
    other.topics(vec!["t: cleanup.policy=compact".to_owned(), "t: retention.ms=1".to_owned()]);
    let told = Health::new(vec![health, other], Vec::new()).report().1["warnings"].clone();
    assert_eq!(told, json!(["t: cleanup.policy=compact", "t: retention.ms=1"]));
}

#[test]
fn every_dead_letter_counts_and_those_for_an_unknown_error_besides() {
    let health = GroupHealth::new("g");
    for reason in [Reason::Undecodable, Reason::UnknownError, Reason::Failed] {
        health.dead_letter(reason);
    }
    let totals = health.totals();
    assert_eq!((totals.dead_letters, totals.unknown_errors), (3, 1));
}

#[test]
fn ready_from_joining_to_the_end_unless_an_outage_is_waited_out() {
    let health = GroupHealth::new("g");
    assert_eq!(status(&health), (false, "joining".into()));
    health.waits_before_joining(Some("waiting for PostgreSQL: no answer".into()));
    assert_eq!(status(&health), (false, "waiting out an outage".into()));
    assert_eq!(health.report().1["outage"], "waiting for PostgreSQL: no answer");
    health.waits_before_joining(None);
    health.joined();
    assert_eq!(status(&health), (true, "ready".into()));
    health.state().partitions.entry(3).or_default().outage = Some("SQLSTATE 57P01".into());
    assert_eq!(status(&health), (false, "waiting out an outage".into()));
    assert_eq!(health.report().1["partitions"]["3"]["outage"], "SQLSTATE 57P01");
    assert_eq!(health.report().1["outage"], "SQLSTATE 57P01", "where the runbook points");
    health.gone(3);
    assert_eq!(health.report().1["outage"], json!(null));
    assert_eq!(status(&health), (true, "ready".into()), "whose partition it is now says it");
    assert!(!health.waits());
    health.kafka_is_away(Some("no broker".into()));
    assert_eq!(status(&health), (false, "waiting out an outage".into()), "with or without a partition");
    assert_eq!((health.waits(), &health.report().1["outage"]), (true, &json!("no broker")));
    health.kafka_is_away(None);
    assert_eq!(status(&health), (true, "ready".into()));
    health.waits_to_begin(4, "no coordinator".into());
    assert_eq!(health.report().1["partitions"]["4"]["outage"], "no coordinator");
    assert_eq!(status(&health), (false, "waiting out an outage".into()), "it has not begun");
    health.begun(4, Some(7));
    assert_eq!(status(&health), (true, "ready".into()));
    let worker = Health::new(vec![GroupHealth::new("other"), health], vec![TaskHealth::new("t")]);
    assert_eq!(worker.report().1["status"], "joining", "ready is a worker whose groups all are");
    assert_eq!(worker.report().1["tasks"], json!({"t": {"running": false, "panics": 0}}));
    worker.stopping();
    assert_eq!(worker.report().1["status"], "stopping", "before anything ends");
}

#[test]
fn an_open_transaction_is_named_at_once_and_unready_when_it_is_open_for_long() {
    let health = joined();
    let open = |seconds| {
        let unstable = Unstable { records: 3, offset: 12, age: Duration::from_secs(seconds) };
        BTreeMap::from([(0, PartitionLag { unstable: Some(unstable), ..PartitionLag::default() })])
    };
    health.measured(&open(0));
    assert_eq!(status(&health), (true, "ready".into()));
    let told = json!({"records": 3, "from_offset": 12, "age_seconds": 0});
    assert_eq!(health.report().1["partitions"]["0"]["unstable"], told);
    health.measured(&open(59));
    assert_eq!(status(&health), (true, "ready".into()));
    health.measured(&open(60));
    assert_eq!(status(&health), (false, "waiting behind an open transaction".into()));
    health.measured(&BTreeMap::from([(0, PartitionLag::default()), (9, PartitionLag::default())]));
    assert_eq!(status(&health), (true, "ready".into()));
    let report = health.report().1;
    assert_eq!(report["partitions"].as_object().unwrap().len(), 1, "of a partition that is gone nothing is kept");
    assert_eq!(report["partitions"]["0"]["unstable"], json!(null));
}

#[test]
fn a_panic_that_comes_again_and_again_is_named_until_its_place_in_the_log_is_passed() {
    let health = joined();
    health.restarts(0, "panicked at a.rs:1:2".into(), None);
    assert_eq!(status(&health), (false, "waiting out an outage".into()));
    health.restarts(0, "panicked at a.rs:1:2".into(), Some(Some(7)));
    let again = (false, "a partition's code panics repeatedly".into());
    assert_eq!(status(&health), again);
    health.begun(0, Some(7));
    assert_eq!(status(&health), again, "while it tries once more, too");
    assert_eq!(health.report().1["partitions"]["0"]["panics_again"], "panicked at a.rs:1:2");
    let mut scheduler = Scheduler::<()>::new(crate::scheduler::Settings::default(), 0);
    scheduler.reach(7);
    health.update(0, &scheduler, Instant::now());
    assert_eq!(status(&health), again);
    scheduler.reach(8);
    health.update(0, &scheduler, Instant::now());
    assert_eq!(status(&health), (true, "ready".into()));
}

#[test]
fn a_partition_that_stands_still_is_unready_also_while_it_begins_anew() {
    let health = joined();
    let stalled = PartitionLag { stalled: Some(Duration::from_secs(200)), lag: Some(3), ..PartitionLag::default() };
    health.measured(&BTreeMap::from([(0, stalled)]));
    assert_eq!(status(&health), (false, "a partition stands still".into()));
    assert_eq!(health.report().1["partitions"]["0"]["stalled_seconds"], 200);
    health.restarts(0, "it stood still".into(), None);
    health.begun(0, Some(7));
    assert_eq!(status(&health), (false, "a partition stands still".into()), "until it moves");
    health.measured(&BTreeMap::from([(0, PartitionLag::default())]));
    assert_eq!(status(&health), (true, "ready".into()));
}

#[test]
fn a_partition_that_takes_nothing_in_since_too_much_is_held_is_unready_and_named() {
    let health = joined();
    let full = HeldFull { records: 40, bytes: 9_000_000, key: "d1".into(), key_records: 39, key_bytes: 8_999_000 };
    health.state().partitions.entry(0).or_default().held_full = Some(full);
    assert_eq!(status(&health), (false, "a partition takes no more records: too much is held".into()));
    let told = json!({"records": 40, "bytes": 9_000_000, "key": "d1", "key_records": 39, "key_bytes": 8_999_000});
    assert_eq!(health.report().1["partitions"]["0"]["held_full"], told);
    health.update(0, &Scheduler::<()>::new(crate::scheduler::Settings::default(), 0), Instant::now());
    assert_eq!(
        (status(&health), &health.report().1["partitions"]["0"]["held_full"]),
        ((true, "ready".into()), &json!(null))
    );
}
