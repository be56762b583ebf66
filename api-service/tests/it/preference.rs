//! `Prefer: handling=lenient` and `handling=strict` for batches.

use crate::batch_kafka_away::{event, without_kafka};
use crate::prelude::*;

const LINES: &str = "application/x-ndjson";

async fn prefer(app: &TestApp, token: &str, preference: &str, lines: &[&str]) -> Response {
    batch(app, token, LINES, lines.join("\n")).header("prefer", preference).send().await.unwrap()
}

fn applied(response: &Response) -> Option<&str> {
    response.headers().get("preference-applied").map(|value| value.to_str().unwrap())
}

fn of(device: &str, id: &str) -> String {
    devstack::kit::event(device).id(id).json()
}

async fn ids(app: &TestApp, count: usize) -> Vec<String> {
    let records = records(app, count).await;
    let id = |record: &shared::kafka::Record| String::from_utf8(record.header("ce_id").unwrap().to_owned()).unwrap();
    records.iter().map(id).collect()
}

#[tokio::test]
async fn a_lenient_batch_is_a_success_if_nothing_is_to_be_sent_again() {
    let app = TestApp::start("lenient").await;
    let mine = token(&["device"], &["mine"]);
    let (one, other, two) = (of("mine", "e-1"), of("other", "e-2"), of("mine", "e-3"));
    let lines: [&str; 5] = [&one, &other, r#"{"device_id":"mine","payload":7}"#, "nonsense", &two];
    let response = prefer(&app, &mine, "respond-async, handling=lenient", &lines).await;
    assert_eq!(applied(&response), Some("handling=lenient"));
    let (status, _, body) = checked(response).await;
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &told["status"], &told["accepted"]), (202, &json!("partial"), &json!(2)));
    let results: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|item| (&item["status"], &item["code"])).collect();
    let expected =
        json!([[202, null], [403, "device_not_allowed"], [422, "invalid_event"], [400, "not_json"], [202, null]]);
    assert_eq!(json!(results), expected);
    assert_eq!(told["items"][2]["errors"], json!([{"pointer": "/2/payload", "detail": "must be a JSON object"}]));

    // Nor is anything to be sent again if no event can ever be accepted.
    let response = prefer(&app, &mine, "handling=lenient", &[&other, "{}"]).await;
    assert_eq!((response.status().as_u16(), applied(&response)), (202, Some("handling=lenient")));
    let none: Value = serde_json::from_slice(&checked(response).await.2).unwrap();
    assert_eq!((&none["accepted"], none["items"].as_array().unwrap().len()), (&json!(0), 2));

    let response = prefer(&app, &mine, "handling=lenient", &[&one]).await;
    assert_eq!((response.status().as_u16(), applied(&response)), (202, Some("handling=lenient")));
    assert_eq!(response.text().await.unwrap(), r#"{"request_id":"r","status":"accepted","accepted":1}"#);

    // What is no batch is not a success.
    let response =
        batch(&app, &mine, "application/json", "{").header("prefer", "handling=lenient").send().await.unwrap();
    is_refused(response, 400, "not_json", None).await;
    assert_eq!(ids(&app, 3).await, ["e-1", "e-3", "e-1"]);
}

#[tokio::test]
async fn a_lenient_batch_with_an_event_that_kafka_did_not_take_is_to_be_sent_again() {
    let app = without_kafka("lenient_full", &["--kafka-queue-bytes=4096"]).await;
    // The third does not fit into the queue.
    let events = [event(0, 1500), event(1, 1500), event(2, 1500), "7".into()];
    let response = prefer(&app, &admin(), "handling=lenient", &events.each_ref().map(String::as_str)).await;
    assert_eq!(applied(&response), Some("handling=lenient"));
    let problem = is_refused(response, 503, "outcome_unknown", Some("1")).await;
    let results: Vec<_> =
        problem["items"].as_array().unwrap().iter().map(|item| (&item["status"], &item["code"])).collect();
    let (unknown, full, invalid) = ("outcome_unknown", "queue_full", "invalid_event");
    assert_eq!(json!(results), json!([[503, unknown], [503, unknown], [503, full], [422, invalid]]));
    assert!(problem["detail"].as_str().unwrap().contains("0 of 4 events were accepted"), "{problem}");
}

#[tokio::test]
async fn of_a_strict_batch_all_is_sent_or_nothing() {
    let app = TestApp::start("strict").await;
    let mine = token(&["device"], &["mine"]);
    let (one, other, two) = (of("mine", "e-1"), of("other", "e-2"), of("mine", "e-3"));
    let fault = |pointer, detail: &str| json!({"pointer": pointer, "detail": detail});
    let not_json = "is not JSON: expected ident at line 1 column 2 (line 2 of the body)";
    let foreign = fault("/1", "The token is for another device");
    for (lines, status, code, count, errors) in [
        (vec![&*one, "7", &*two], 422, "invalid_event", "1 of 3", json!([fault("/1", "must be a JSON object")])),
        (
            vec![&*one, "nonsense", "7"],
            400,
            "not_json",
            "2 of 3",
            json!([fault("/1", not_json), fault("/2", "must be a JSON object")]),
        ),
        (vec![&*one, &*other, &*two], 403, "device_not_allowed", "1 of 3", json!([foreign])),
    ] {
        let response = prefer(&app, &mine, "handling=strict", &lines).await;
        assert_eq!(applied(&response), Some("handling=strict"));
        let problem = is_refused(response, status, code, None).await;
        assert_eq!(problem["errors"], errors);
        assert_eq!(problem["detail"], format!("{count} events are refused, see errors; none was sent"));
    }
    let many: Vec<_> = (0..300).map(|n| of("other", &format!("o-{n}"))).collect();
    let many: Vec<_> = many.iter().map(String::as_str).chain([&*one]).collect();
    let problem =
        is_refused(prefer(&app, &mine, "handling=strict", &many).await, 403, "device_not_allowed", None).await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 101, "they are bounded");
    assert_eq!(problem["errors"][100], fault("", "has 200 more faults"));

    let response = prefer(&app, &mine, "handling=strict", &[&one, &two]).await;
    assert_eq!((response.status().as_u16(), applied(&response)), (202, Some("handling=strict")));
    assert_eq!(ids(&app, 3).await, ["e-1", "e-3"], "nothing else was sent");
}

#[tokio::test]
async fn an_unknown_preference_is_ignored() {
    let app = TestApp::start("preferences").await;
    for preference in ["handling=both", "return=minimal", "handling", "x; handling=lenient", "\"handling=lenient"] {
        let response = prefer(&app, &admin(), preference, &[EVENT, "7"]).await;
        assert_eq!((response.status().as_u16(), applied(&response)), (207, None), "{preference}");
    }
}
