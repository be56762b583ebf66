//! Each event can be found in the logs of both services by its request, device and event id.

use std::collections::HashSet;

use devstack::logs::PLANTED;

use crate::prelude::*;

const BATCHES: usize = 40;
const EVENTS: usize = 200;
const ALONE: usize = 1_000;

/// The (request, device, event) of lines with one of these messages, without events that were not accepted and without
/// the line of a whole batch.
fn named(log: &str, messages: &[&str]) -> HashSet<[String; 3]> {
    let lines = json_lines(log).filter(|line| messages.iter().any(|message| line["message"] == *message));
    let lines = lines.filter(|line| line["status"].as_u64().is_none_or(|status| status == 202));
    let name = |line: &Value, name: &str| line[name].as_str().map(ToOwned::to_owned);
    lines
        .filter_map(|line| Some([name(&line, "request_id")?, name(&line, "device_id")?, name(&line, "event_id")?]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_events_under_load_are_in_both_logs_by_request_device_and_id() {
    let system = System::start("access-logs", &[("ACCESS_LOG", "all")]).await;
    let worker = system.worker();
    let event = |device: usize, id: String| json!({"device_id": format!("device-{device}"), "event_id": id, "payload": {"planted": PLANTED}});
    let post = async |path: &str, request_id: String, body: Value| {
        let request = system.api.post(path, &system.token, body.to_string()).header("x-request-id", request_id);
        request.send().await.unwrap().status().as_u16()
    };
    let mut expected = HashSet::new();
    let mut name = |request: &str, device: usize, id: &str| {
        expected.insert([request.to_owned(), format!("device-{device}"), id.to_owned()]);
    };
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        let request = format!("batch-{batch}");
        let events = (0..EVENTS).map(|nth| {
            let (device, id) = ((batch * 7 + nth) % 50, format!("b-{batch}-{nth}"));
            name(&request, device, &id);
            event(device, id)
        });
        let events = Value::Array(events.collect());
        batches.push(post("/events/batch", request.clone(), events));
    }
    let mut alone = Vec::new();
    for nth in 0..ALONE {
        let (request, id) = (format!("alone-{nth}"), format!("a-{nth}"));
        name(&request, nth % 50, &id);
        alone.push(post("/events", request, event(nth % 50, id)));
    }
    // As many as the client has connections.
    let (batches, alone) = tokio::join!(join_all(batches), join_all(alone));
    assert!(batches.into_iter().chain(alone).all(|status| status == 202));
    system.until("all have their effect", async || system.rows().await == BATCHES * EVENTS + ALONE).await;

    let found = async |what: &str, log: &dyn Fn() -> String, messages: &[&str]| {
        // A separate thread writes the log.
        system.until(what, async || named(&log(), messages).len() >= expected.len()).await;
        assert!(named(&log(), messages) == expected, "{what}: others than those that were sent");
    };
    found("each is in the API's log", &|| system.api.service.log(), &["answered", "answered in a batch"]).await;
    found("each is in the worker's log", &|| worker.service.log(), &["Processed message"]).await;
    worker.end().await;
}
