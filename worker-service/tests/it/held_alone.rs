//! An outage-class error that only one device meets is not an outage.

use crate::prelude::*;

/// More than may wait behind an event of a device that is held alone.
const EVENTS: usize = 104;

/// Sends events of other devices to all partitions until the first `holding` of them hold a key alone; returns how many
/// each got.
async fn until_held_alone(kit: &Kit, worker: &Process, partitions: i32, holding: i32) -> i64 {
    for sent in 1..300 {
        for partition in 0..partitions {
            kit.event_at(partition, &format!("good-{partition}"), &sent.to_string(), "{}").await;
        }
        let report = worker.health().await;
        let holds = |partition: i32| of_group(&report)["partitions"][partition.to_string()]["held_alone_keys"] == 1;
        if (0..holding).all(holds) {
            return sent;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{}", worker.service.log());
}

/// Every outage-class error, each on its own partition.
const REFUSALS: [(&str, &str); 8] = [
    ("0A000", "SQLSTATE 0A000: refused"),
    ("40001", "SQLSTATE 40001: refused"),
    ("42501", "SQLSTATE 42501: refused"),
    ("53400", "SQLSTATE 53400: refused"),
    ("58030", "SQLSTATE 58030: refused"),
    ("XX000", "SQLSTATE XX000: refused"),
    ("sleep", "SQLSTATE 57014: canceling statement due to statement timeout"),
    ("end", "SQLSTATE 57P01: terminating connection due to administrator command"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_alone_meets_an_outage_is_held_and_the_others_go_on() {
    let partitions = i32::try_from(REFUSALS.len()).unwrap();
    let kit = Kit::new("held-alone", partitions).await;
    for (partition, (refusal, _)) in (0..).zip(REFUSALS) {
        let device = format!("bad-{refusal}");
        kit.refuse_with(&device, refusal).await;
        for id in ["1", "2"] {
            kit.event_at(partition, &device, id, "{}").await;
        }
    }
    let worker = kit.process().await;
    let sent = until_held_alone(&kit, &worker, partitions, partitions).await;
    kit.until("SELECT count(*) FROM events WHERE device_id LIKE 'good-%'", sent * i64::from(partitions)).await;
    assert_eq!((worker.status().await, kit.dead_letters(0).await.len()), ("ready".to_owned(), 0));
    for (refusal, error) in REFUSALS {
        let is_it = |line: Value| {
            line["message"] == "only one key meets an outage error: it is held, and the partition goes on"
                && (&line["device_id"], &line["level"]) == (&format!("bad-{refusal}").into(), &"ERROR".into())
                && line["error"] == error
        };
        until(refusal, async || json_lines(&worker.service.log()).any(is_it)).await;
    }

    worker.tells("Only one device meets an outage error").await;

    // Held events continue without a command when the cause is fixed.
    for (refusal, _) in REFUSALS {
        kit.no_longer_refuse(&format!("bad-{refusal}")).await;
    }
    kit.until("SELECT count(*) FROM events WHERE device_id LIKE 'bad-%'", 2 * i64::from(partitions)).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_much_waits_for_a_device_that_is_held_alone_its_events_are_dead_letters() {
    let kit = Kit::new("alone-letters", 1).await;
    kit.refuse_with("bad", "42501").await;
    let worker = kit.process().await;
    for n in 0..EVENTS {
        kit.event("bad", &n.to_string(), "{}").await;
    }
    let others = async {
        for n in 0.. {
            kit.event("good", &n.to_string(), "{}").await;
            // The worker has to apply several of these before each letter.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let letters = tokio::select! {
        () = others => Vec::new(),
        letters = kit.dead_letters(EVENTS - 99) => letters,
    };
    assert_eq!(letters.len(), EVENTS - 99);
    let of = |name: &str| header(&letters[0], name).unwrap();
    assert_eq!((of("ce_id"), of("dlq.reason")), ("0".into(), "unknown_error".into()));
    assert_eq!(of("dlq.error"), "SQLSTATE 42501: refused");
    assert!(of("dlq.attempts").parse::<u32>().unwrap() > 10);
    assert_eq!(worker.sample(r#"held_alone_keys{partition="0"}"#).await, Some(1.0));

    // The cause is fixed: waiting events continue without a command, and the dead letters are redriven.
    kit.no_longer_refuse("bad").await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 99).await;
    assert_eq!(kit.list(&["--reason=unknown_error"]).await.len(), EVENTS - 99);
    kit.redrive(&["--reason=unknown_error"]).await.unwrap();
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 104).await;
}

/// Each crash ends all sessions of the server, which serves no client until it has recovered.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_over_which_the_backend_crashes_is_held_alone() {
    let (_postgres, kit) = Kit::on_postgres("crashes", 2).await;
    kit.refuse_with("bad", "crash").await;
    let worker = kit.process().await;
    kit.event_at(0, "bad", "0", "{}").await;
    let sent = until_held_alone(&kit, &worker, 2, 1).await;
    kit.until_committed(1, sent).await;
    // A crash ends the test's own sessions, too.
    until("it is mended", async || sqlx::raw_sql("DELETE FROM refused").execute(&kit.pool).await.is_ok()).await;
    kit.until_committed(0, sent + 1).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
    let all = async || sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&kit.pool).await.ok();
    until("each has its effect", async || all().await == Some(2 * sent + 1)).await;
}

/// No other device's event can be tried, and yet this is recognised as no outage.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_alone_in_its_partition_is_found_by_a_probe() {
    let kit = Kit::new("alone-alone", 1).await;
    kit.refuse_with("bad", "42501").await;
    let worker = kit.process().await;
    kit.event("bad", "0", "{}").await;
    let is_held = async || {
        let report = worker.health().await;
        of_group(&report)["partitions"]["0"]["held_alone_keys"] == 1 && report["status"] == "ready"
    };
    until("it is held alone", is_held).await;
    assert_eq!(kit.count("SELECT count(*) FROM events").await, 0, "a probe leaves nothing");
    kit.no_longer_refuse("bad").await;
    kit.until("SELECT count(*) FROM events", 1).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}

/// More than the limit of held bytes arrives at once behind one bad event, and reaches the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_a_device_that_is_held_alone_stops_nobody_for_long() {
    let kit = Kit::new("alone-burst", 1).await;
    kit.refuse_with("bad%", "42501").await;
    let worker = kit.process().await;
    let others = async {
        for n in 0.. {
            kit.event("o1", &n.to_string(), "{}").await;
            kit.event("o10", &n.to_string(), "{}").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (mut was_full, payload) = (false, format!(r#"{{"x":"{}"}}"#, "x".repeat(255 * 1024)));
    let burst = async {
        until("others are applied", async || kit.version("o10").await > Some(2)).await;
        kit.event("d1", "bad1", "{}").await;
        for n in 0..45 {
            kit.event("d1", &n.to_string(), &payload).await;
        }
        // All events of d1 except the bad one within a minute, and the events that the others had sent by then within
        // another minute.
        for _ in 0..600 {
            let report = worker.health().await;
            let full = &of_group(&report)["partitions"]["0"]["held_full"];
            if !full.is_null() && report["status"] == "a partition takes no more records: too much is held" {
                was_full |= full["key"] == "d1" && full["bytes"].as_u64() >= Some(8 * 1024 * 1024);
            }
            if kit.version("d1").await == Some(45) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(kit.version("d1").await, Some(45), "{}", worker.service.log());
        let sent = kit.event("o1", "last", "{}").await;
        until("the others go on", async || kit.committed().await[&0] > sent.1).await;
    };
    let burst = futures_util::future::join(burst, worker.tells("Too much is held"));
    tokio::select! { () = others => {}, _ = burst => {} }
    worker.tells_end_of("Too much is held").await;
    assert!(was_full, "{}", worker.service.log());
    let letters = kit.dead_letters(1).await;
    assert_eq!((letters.len(), header(&letters[0], "ce_id").as_deref()), (1, Some("bad1")));
    assert_eq!(worker.sample(r#"partition_held_full{partition="0"}"#).await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_everybody_meets_is_one() {
    let kit = Kit::new("outage-of-all", 1).await;
    kit.refuse_with("%", "42501").await;
    let worker = kit.process().await;
    join_all(["a", "b", "c"].map(|device| kit.events(device, 1..=3))).await;
    let waits = async || worker.health().await.to_string().contains("waiting out an outage");
    until("it waits", waits).await;
    until("each was tried several times", async || kit.tries().await.len() >= 12).await;
    assert!(waits().await);
    kit.no_longer_refuse("%").await;
    kit.until("SELECT count(*) FROM events", 9).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}
