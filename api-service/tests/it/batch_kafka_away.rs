//! Batches that Kafka does not accept, or only in part.

use devstack::kit;

use crate::prelude::*;

pub(crate) async fn without_kafka(name: &str, more: &[&str]) -> TestApp {
    let brokers = nowhere("--kafka-brokers=127.0.0.1:PORT");
    let usual = [brokers.as_str(), "--kafka-message-timeout=2s", "--request-timeout=4s"];
    TestApp::with(name, &[&usual, more].concat()).await
}

pub(crate) fn event(n: usize, size: usize) -> String {
    kit::event("d").id(format!("e-{n}")).payload(format!(r#"{{"x":"{}"}}"#, "y".repeat(size))).json()
}

#[tokio::test]
async fn without_an_acknowledgement_nothing_is_known_of_any() {
    let app = without_kafka("batch_no_kafka", &[]).await;
    let body = format!(r#"[{},{{"device_id":"d","payload":{{}}}}]"#, event(0, 1));
    let response = batch(&app, &admin(), "application/json", body).send().await.unwrap();
    let unknown = is_refused(response, 503, "outcome_unknown", Some("1")).await;
    assert_eq!(unknown["items"][0], json!({"index": 0, "status": 503, "code": "outcome_unknown", "event_id": "e-0"}));
    assert_eq!(unknown["items"][1]["event_id"].as_str().unwrap().len(), 36, "a generated one is told too");
}

#[tokio::test]
async fn behind_one_that_finds_no_room_none_is_taken() {
    let app = without_kafka("batch_full", &["--kafka-queue-bytes=4096"]).await;
    // The third does not fit; the small ones after it would.
    let events = [event(0, 1500), event(1, 1500), event(2, 1500), event(3, 1), event(4, 1), "7".into()];
    let start = Instant::now();
    let response = batch(&app, &admin(), "application/json", format!("[{}]", events.join(","))).send().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(response.status(), 207, "one is no event: they differ");
    let told: Value = response.json().await.unwrap();
    assert_eq!(told["accepted"], 0);
    let codes: Vec<_> = told["items"].as_array().unwrap().iter().map(|item| item["code"].as_str().unwrap()).collect();
    let (unknown, full) = ("outcome_unknown", "queue_full");
    assert_eq!(codes, [unknown, unknown, full, full, full, "invalid_event"]);
}

#[tokio::test]
async fn a_full_queue_refuses_a_whole_batch_and_a_single_event_at_once() {
    let app = without_kafka("batch_full_before", &["--kafka-queue-bytes=1024"]).await;
    let waiting = tokio::spawn(app.submission(&admin(), event(0, 900)).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Of other devices: while the limit of a batch is unknown, several events of one device use the other client.
    let [one, other] =
        [("e", event(1, 900)), ("f", event(2, 1))].map(|(id, event)| event.replacen("\"d\"", &format!("\"{id}\""), 1));
    let body = format!("[{one},{other}]");
    let response = batch(&app, &admin(), "application/json", body).send().await.unwrap();
    is_refused(response, 503, "queue_full", Some("1")).await;
    let single = problem(app.submit(event(3, 900)).await).await;
    assert!(!waiting.is_finished(), "they did not wait for Kafka, as it does");
    assert_eq!((&single["code"], &single["event_id"]), (&"queue_full".into(), &"e-3".into()));
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
}
