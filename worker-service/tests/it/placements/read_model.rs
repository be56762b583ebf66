//! What is cached of videos and validations is fenced by their events; and the owner of the stream refuses what is no
//! event.

use shared::placements::ValidationId;
use shared::placements::received::DomainEvent;
use worker_service::placements::read_model::ReadModel;

use super::kit::{COMPLETED, CREATED, GENERATED, Placements, REQUESTED, UPDATED, delivery};
use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_event_fences_what_it_changes_and_again_does_so_too() {
    let all = Placements::new("read_model", |scope| &scope.read_model_group).await;
    let handler = ReadModel::new(Duration::MAX);
    let (video, validation) = (all.video().await, ValidationId::generate());
    let event = |(name, number), event_type| {
        let data = json!({"videoId": video.to_string(), "validationId": validation.to_string()});
        delivery::<ReadModel>((name, number), event_type, &video.to_string(), number, &data)
    };
    let batch: Vec<Delivery<DomainEvent>> = vec![
        event(("a", 1), CREATED),
        event(("b", 2), REQUESTED),
        event(("c", 3), GENERATED),
        event(("d", 4), COMPLETED),
        // An earlier one, redriven.
        event(("e", 2), UPDATED),
    ];
    let batch: Vec<_> = batch.iter().collect();
    for outcome in ["applied", "repeated"] {
        let applied = all.apply(&handler, &batch).await;
        assert!(applied.events.iter().all(|event| event.outcome == outcome), "{applied:?}");
        assert_eq!(applied.fences, [(video.cache_key(), 3), (validation.cache_key(), 8)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_a_dead_letter_of_the_owner_alone() {
    let all = Placements::new("read_model_owner", |scope| &scope.read_model_group).await;
    let worker = all.worker_of(&["read-model", "files", "validator"]);
    let video = all.video().await.to_string();
    let data = json!({"videoId": &video});
    all.put_event("com.nedlia.placement.moved", &video, 2, &data).await;
    all.put_event(CREATED, "another", 2, &data).await;
    let campaign = json!({"campaignId": 7, "name": "c", "status": "active"});
    all.put_event("com.nedlia.campaign.created", "campaign-7", 1, &campaign).await;
    all.put_event(CREATED, &video, 3, &data).await;
    for (subscriber, taken) in [("read-model", 1), ("files", 1), ("validator", 1)] {
        let sql = format!("SELECT count(*) FROM inbox WHERE subscriber = '{subscriber}'");
        until(&format!("{subscriber} has taken {taken}"), async || {
            all.count(sqlx::AssertSqlSafe(sql.clone())).await == taken
        })
        .await;
    }
    all.until_committed(0, 4).await;
    let letters = all.dead_letters(2).await;
    let reasons: Vec<_> = letters.iter().map(|letter| header(letter, "dlq.reason")).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(letters.iter().all(|letter| header(letter, "dlq.group") == header(&letters[0], "dlq.group")));
    worker.stop().await.unwrap();
}
