//! What the recipes of `docs/forwarders.md` send is accepted, and counts once however often it is sent.

use crate::prelude::*;

const PAGE: &str = include_str!("../../../docs/forwarders.md");

/// The content types and bodies of the page.
fn sent() -> Vec<(&'static str, &'static str)> {
    let blocks = PAGE.split("<!-- sends: ").skip(1);
    blocks
        .map(|block| {
            let (media_type, rest) = block.split_once(" -->\n```").unwrap();
            let (_, rest) = rest.split_once('\n').unwrap();
            (media_type, rest.split("\n```").next().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn what_a_recipe_sends_counts_once() {
    let app = TestApp::start("forwarders").await;
    let sent = sent();
    assert_eq!(sent.len(), 4, "a body for each forwarder");
    let mut events = 0;
    for (media_type, body) in sent.repeat(2) {
        let count = serde_json::from_str::<Vec<Value>>(body).unwrap().len();
        let request = batch(&app, &admin(), media_type, body).header("prefer", "handling=lenient");
        let (status, _, answer) = checked(request.send().await.unwrap()).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (status, &answer["status"], &answer["accepted"]),
            (202, &json!("accepted"), &json!(count)),
            "{body}"
        );
        events += count;
    }
    let records = records(&app, events).await;
    let decoded: Vec<_> = records.iter().map(|record| shared::devices::decode(record).unwrap()).collect();
    let applied = queries::apply_batch(&app.store(), &decoded.iter().collect::<Vec<_>>()).await.unwrap();
    let repeats = applied.events.iter().filter(|event| event.outcome == queries::Outcome::Repeated).count();
    assert_eq!((events, repeats), (10, 5));
}
