//! What commands of campaigns publish: each change its event, in the order of the changes.

use serde_json::{Value, json};
use shared::ads::published::OF_CAMPAIGNS;
use shared::ads::queries::campaigns::{self, Actor, ChangeError, Viewer};
use shared::kafka::Cause;

use crate::ads_campaigns::{ANY, BY_ALICE, change, create, id, patch, terms};
use crate::prelude::*;

#[derive(Debug)]
struct Row {
    aggregate: String,
    sequence: i64,
    event_type: String,
    attributes: Value,
    data: Value,
}

async fn rows(kit: &Kit) -> Vec<Row> {
    let rows: Vec<(String, i64, String, String, String)> =
        sqlx::query_as("SELECT aggregate, sequence, type, attributes::text, data FROM outbox ORDER BY id")
            .fetch_all(&kit.pool)
            .await
            .unwrap();
    let json = |text: String| serde_json::from_str(&text).unwrap();
    rows.into_iter()
        .map(|(aggregate, sequence, event_type, attributes, data)| {
            let schema = OF_CAMPAIGNS.schemas.iter().find(|schema| schema.event_type == event_type).unwrap();
            schema.check(&data).unwrap();
            Row { aggregate, sequence, event_type, attributes: json(attributes), data: json(data) }
        })
        .collect()
}

#[tokio::test]
async fn each_change_of_a_campaign_is_one_event() {
    let kit = Kit::new("ads_published").await;
    let cause = Cause {
        correlation_id: Some("c-1".to_owned()),
        request_id: Some("r-1".to_owned()),
        user_id: Some("alice".to_owned()),
        ..Cause::default()
    };
    let by_alice = Actor { cause: &cause, ..BY_ALICE };
    let members = json!({"external_id": "x-1", "starts_at": "2026-01-02T03:04:05+01:00"});
    let made = campaigns::create(&kit.store, Some("alice"), by_alice, &terms(&members)).await.unwrap();
    let (campaign, true) = made else { panic!("{made:?}") };
    campaigns::create(&kit.store, Some("alice"), by_alice, &terms(&members)).await.unwrap();
    for members in
        [json!({"name": "new"}), json!({"name": "new"}), json!({"status": "ended"}), json!({"status": "ended"})]
    {
        let changed = campaigns::change(&kit.store, id(&campaign), Viewer::All, &ANY, &patch(&members), by_alice).await;
        changed.unwrap();
    }
    let refused = change(&kit, &campaign, json!({"name": "after its end"})).await;
    assert!(matches!(refused, Err(ChangeError::Ended)));

    let rows = rows(&kit).await;
    let told: Vec<_> = rows.iter().map(|row| (row.event_type.as_str(), row.sequence)).collect();
    let types = ["created", "updated", "ended"].map(|name| format!("com.nedlia.campaign.{name}"));
    let expected = [(types[0].as_str(), 1), (types[1].as_str(), 2), (types[2].as_str(), 3)];
    assert_eq!(told, expected, "neither a repeat nor a change without a difference is one");
    assert!(rows.iter().all(|row| row.aggregate == "campaign-1"));
    let data = |revision: i64, name: &str, status: &str| {
        json!({"campaignId": 1, "externalId": "x-1", "owner": "alice", "name": name, "status": status,
               "startsAt": "2026-01-02T02:04:05.000000Z", "revision": revision})
    };
    assert_eq!(rows[0].data, data(1, "demo", "active"));
    assert_eq!(rows[1].data, data(2, "new", "active"));
    assert_eq!(rows[2].data, data(3, "new", "ended"));
    let created: String = sqlx::query_scalar(
        r#"SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') FROM campaigns"#,
    )
    .fetch_one(&kit.pool)
    .await
    .unwrap();
    let at = rows[0].attributes["time"].as_str().unwrap();
    assert!(at.starts_with(&created) && at.ends_with('Z'), "{at}: {created}");
    let attributes = json!({
        "source": "/campaigns", "subject": "1", "time": at, "acceptedat": at, "partitionkey": "campaign-1",
        "sequence": "00000000000000000001", "dataschema": "/schemas/com.nedlia.campaign.created/1",
        "correlationid": "c-1", "requestid": "r-1", "userid": "alice"
    });
    assert_eq!(rows[0].attributes, attributes);
}

#[tokio::test]
async fn a_refused_change_publishes_nothing() {
    let kit = Kit::new("ads_unpublished").await;
    let campaign = create(&kit, json!({})).await;
    for wrong in [json!({"total_budget": "0.5"}), json!({"timezone": "Mars/Base"}), json!({"status": "draft"})] {
        change(&kit, &campaign, wrong).await.unwrap_err();
    }
    let refused = campaigns::create(&kit.store, None, BY_ALICE, &terms(&json!({"timezone": "Mars/Base"}))).await;
    refused.unwrap_err();
    assert_eq!(kit.number("SELECT count(*) FROM outbox").await, 1);
    assert_eq!(kit.number("SELECT last FROM sequences").await, 1);
}

/// A campaign of before the outbox has no number yet: its first change has the first one.
#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_campaign_are_in_the_order_of_its_revisions() {
    let kit = Kit::new("ads_published_order").await;
    let campaign = create(&kit, json!({})).await;
    kit.sql("DELETE FROM outbox; DELETE FROM sequences").await;
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let (store, id) = (kit.store.clone(), id(&campaign));
            tokio::spawn(async move {
                let patch = patch(&json!({"name": format!("n-{n}")}));
                campaigns::change(&store, id, Viewer::All, &ANY, &patch, BY_ALICE).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rows = rows(&kit).await;
    let told: Vec<_> = rows.iter().map(|row| (row.sequence, row.data["revision"].as_i64().unwrap())).collect();
    assert_eq!(told, (1..=12).map(|n| (n, n + 1)).collect::<Vec<_>>());
}
