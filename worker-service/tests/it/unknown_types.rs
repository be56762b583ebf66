//! Events of a type that this version does not know: kept for the version that does, without counting against the
//! devices that sent them.

use worker_service::devices::Devices;

use crate::prelude::*;

const NEW: [(&str, &str); 1] = [("ce_type", "io.edge.device.moved.v1")];

/// The next version, which knows the new type, and here processes it like the others.
struct NextVersion;

impl Alter for NextVersion {
    const TYPES: &'static [&'static str] = &["io.edge.device.reported.v1", NEW[0].1];

    fn decode(envelope: &Envelope) -> Result<Option<Event>, Refusal> {
        Devices::decode(&Envelope { event_type: "io.edge.device.reported.v1", ..envelope.clone() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_a_new_type_pauses_nothing_and_comes_back_after_the_deploy() {
    let (kit, worker) = Kit::with_worker("new_type", 1).await;
    let devices: Vec<_> = (0..150).map(|n| format!("d{n}")).collect();
    join_all(devices.iter().map(|device| kit.event_with(device, "new", "{}", &NEW))).await;
    kit.apply("d0", "later", "{}").await;
    let letters = kit.dead_letters(devices.len()).await;
    assert_eq!(letters.len(), devices.len(), "more than 100 of more than 20 devices");
    for letter in &letters {
        let found = ["dlq.reason", "dlq.error", "dlq.attempts"].map(|name| header(letter, name).unwrap());
        let error = r#"ce_type: unknown event type "io.edge.device.moved.v1"; accepted: io.edge.device.reported.v1"#;
        assert_eq!(found, ["unknown_type", error, "1"]);
    }
    assert_eq!(kit.count("SELECT count(*) FROM paused_partitions").await, 0);
    worker.stop().await.unwrap();

    // The version that knows the type.
    let worker = kit.altered_worker(NextVersion, Parts::default());
    kit.put(Some(b"poison"), Some(b"x"), &[]).await;
    assert_eq!(kit.dead_letters(devices.len() + 1).await.len(), devices.len() + 1);
    let (summary, lines) = kit.redrive(&["--reason=unknown_type", "--rate=10000"]).await.unwrap();
    assert_eq!((summary.matched, summary.sent, summary.failed), (devices.len(), devices.len(), 0), "{lines:?}");
    kit.until("SELECT count(*) FROM events WHERE event_id = 'new'", 150).await;
    assert_eq!(kit.count("SELECT count(*) FROM events WHERE outcome = 'superseded'").await, 1, "behind a newer state");
    assert_eq!(kit.version("d1").await, Some(1));
    worker.stop().await.unwrap();
}
