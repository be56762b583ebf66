//! An SQLSTATE that is not known counts as an outage, unless one device alone meets it.

use serde_json::Value;

use crate::kit::{Kit, header};

/// More than may wait behind an event of a device that is held alone.
const EVENTS: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_alone_meets_an_unknown_error_is_held_and_then_its_events_are_dead_letters() {
    let kit = Kit::new("unknown-errors", 1).await;
    kit.refuse_with("bad", "0A000").await;
    let worker = kit.process().await;
    for n in 0..3 {
        kit.event("bad", &n.to_string(), "{}").await;
        kit.event("good", &n.to_string(), "{}").await;
    }
    kit.until("SELECT count(*) FROM events WHERE device_id = 'good'", 3).await;
    // Others are applied, and it fails again.
    let others = async |from: usize, to: usize| {
        for n in from..to {
            kit.event("good", &n.to_string(), "{}").await;
        }
    };
    others(3, 10).await;
    let held = async || worker.page("/metrics").await.contains("held_alone_devices{partition=\"0\"} 1\n");
    kit.until_it("its device is held alone", held).await;
    let ready: Value = {
        let page = worker.page("/health/ready").await;
        serde_json::from_str(page.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    assert_eq!((&ready["status"], &ready["partitions"]["0"]["held_alone_devices"]), (&"ready".into(), &1.into()));
    assert_eq!(kit.dead_letters(0).await.len(), 0, "not so soon");

    // When much waits behind it, it is a dead letter, and so are the next ones while so much waits.
    for n in 3..EVENTS {
        kit.event("bad", &n.to_string(), "{}").await;
    }
    let letters = kit.dead_letters(EVENTS - 99).await;
    assert_eq!(letters.len(), EVENTS - 99);
    let of = |name: &str| header(&letters[0], name).unwrap();
    assert_eq!((of("ce_id"), of("dlq.reason")), ("0".into(), "unknown_error".into()));
    assert_eq!(of("dlq.error"), "SQLSTATE 0A000: refused");
    others(10, 20).await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'good'", 20).await;

    // It is mended: what waits goes on by itself, and the others are sent back.
    kit.no_longer_refuse("bad").await;
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 99).await;
    assert_eq!(kit.list(&["--reason=unknown_error"]).await.len(), EVENTS - 99);
    kit.redrive(&["--reason=unknown_error"]).await.unwrap();
    kit.until("SELECT count(*) FROM events WHERE device_id = 'bad'", 120).await;
    let log = worker.service.log();
    assert!(log.contains("one device alone meets an error that is not known"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_error_of_everybody_is_an_outage() {
    let kit = Kit::new("unknown-outage", 1).await;
    let devices = ["a", "b", "c"];
    for device in devices {
        kit.refuse_with(device, "0A000").await;
    }
    let worker = kit.process().await;
    for n in 0..3 {
        for device in devices {
            kit.event(device, &n.to_string(), "{}").await;
        }
    }
    let waits = async || worker.page("/health/ready").await.contains("waiting out an outage");
    kit.until_it("it waits", waits).await;
    kit.until_it("each was tried several times", async || kit.tries().await.len() >= 12).await;
    assert!(waits().await);
    for device in devices {
        kit.no_longer_refuse(device).await;
    }
    kit.until("SELECT count(*) FROM events", 9).await;
    assert_eq!(kit.dead_letters(0).await.len(), 0);
}
