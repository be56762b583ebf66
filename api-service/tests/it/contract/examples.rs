//! The examples of the document.

use serde_json::Value;

use super::{DOCUMENT, checked, escaped, faults, object, operations};
use crate::app::{TestApp, admin};
use crate::placements_kit;

#[test]
fn every_example_is_what_its_schema_says() {
    let mut count = 0;
    for (_, _, at) in operations() {
        let operation = DOCUMENT.pointer(&at).unwrap();
        let answers = object(&operation["responses"]).keys().map(|status| format!("{at}/responses/{status}"));
        for place in answers.chain([format!("{at}/requestBody")]) {
            for (media_type, value) in examples(&place) {
                if value.is_string() {
                    continue; // lines, which are sent below
                }
                count += 1;
                assert_eq!(faults(&format!("{place}/content/{}/schema", escaped(media_type)), &value), [""; 0]);
            }
        }
    }
    assert!(count > 50, "{count}");
}

/// The examples of a body, with their media types.
fn examples(place: &str) -> Vec<(&'static str, Value)> {
    let Some(Value::Object(content)) = DOCUMENT.pointer(&format!("{place}/content")) else { return Vec::new() };
    let mut all = Vec::new();
    for (media_type, body) in content {
        all.extend(body.get("example").map(|value| (media_type.as_str(), value.clone())));
        let named = body.get("examples").map(|examples| object(examples).values());
        all.extend(named.into_iter().flatten().map(|example| (media_type.as_str(), example["value"].clone())));
    }
    all
}

#[tokio::test]
async fn every_example_of_a_body_is_taken() {
    let app = TestApp::start("contract_examples").await;
    // The one that other examples name. It has the id 1.
    let campaign = r#"{"name": "c", "pricing_model": "cpm", "unit_price": "1", "total_budget": "5"}"#;
    let created = app.request("POST", "/campaigns").bearer_auth(admin()).header("content-type", "application/json");
    assert_eq!(created.body(campaign).send().await.unwrap().status(), 201);
    placements_kit::examples(&app).await;
    let named = |path: &str| match path.split('/').nth(1) {
        Some("videos") => placements_kit::VIDEO,
        Some("placements") => placements_kit::PLACEMENT,
        _ => "1",
    };
    let mut sent = Vec::new();
    for (path, method, at) in operations() {
        for (media_type, value) in examples(&format!("{at}/requestBody")) {
            let body = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let request = app.request(&method.to_uppercase(), &path.replace("{id}", named(path))).bearer_auth(admin());
            let request = request.header("if-match", "*").header("content-type", media_type);
            let response = request.body(body.clone()).send().await.unwrap();
            let (status, _, answer) = checked(response).await;
            assert!(matches!(status, 200..=202), "{path} {body}: {status} {answer:?}");
            sent.push(media_type);
        }
        // Every media type of the document has an example.
        if let Some(Value::Object(content)) = DOCUMENT.pointer(&format!("{at}/requestBody/content")) {
            assert!(content.keys().all(|media_type| sent.contains(&media_type.as_str())), "{sent:?}");
        }
    }
}
