//! `KAFKA_PROPERTIES`: both services pass them to all their clients, and tell no secret in them.

use devstack::logs::{PLANTED, told};

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_services_pass_further_properties_to_librdkafka_and_hide_their_secrets() {
    let properties = format!(
        "client.rack=use1-az1, compression.type=zstd, fetch.min.bytes=1, debug=conf\\,security, \
         sasl.oauthbearer.assertion.private.key.passphrase={PLANTED}"
    );
    let settings = [("KAFKA_PROPERTIES", properties.as_str()), ("RUST_LOG", "debug")];
    let system = System::start("kafka-properties", &settings).await;
    let worker = system.worker();
    assert_eq!(system.post("d", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    system.until("it has its row", async || system.rows().await == 1).await;
    for service in [&system.api.service, &worker.service] {
        for passed in ["client.rack = use1-az1", "fetch.min.bytes = 1"] {
            system.until(passed, async || service.log().contains(passed)).await;
        }
        let log = service.log();
        assert_eq!(log.lines().find_map(|line| told(line).map(|what| (what, line))), None);
        // What is for consumers only concerns no producer, and the other way round.
        let loud = |line: &Value| line["level"] != "DEBUG" && line.to_string().contains("will be ignored by this");
        assert_eq!(json_lines(&log).find(loud), None);
    }
    let (done, said) = system.command(&["setup"], &settings).await;
    assert!(done, "{said}");
    assert_eq!(said.lines().find_map(|line| told(line).map(|what| (what, line))), None);
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_undo_a_promise_stops_both_services_and_the_commands() {
    let system = System::start("kafka-properties-wrong", &[]).await;
    for (list, says) in [
        ("client.rak=a", r#"KAFKA_PROPERTIES: No such configuration property: "client.rak""#),
        ("socket.timeout.ms=1", r#"KAFKA_PROPERTIES: Configuration property "socket.timeout.ms" value 1 is outside"#),
        ("acks=1", "KAFKA_PROPERTIES: acks cannot be set here: a 202 means that all in-sync replicas have the event"),
        ("client.rack=a,enable.auto.offset.store=true", "enable.auto.offset.store cannot be set here: an offset is"),
    ] {
        for args in [&["run"][..], &["setup"], &["dlq", "list"]] {
            let (done, said) = system.command(args, &[("KAFKA_PROPERTIES", list)]).await;
            assert!(!done && said.contains(says), "{args:?}: {said}");
        }
    }
}
