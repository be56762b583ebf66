//! Many placements in one call: all or none.

use crate::placements_kit::{Editor, item, new, numbered};
use crate::prelude::*;

#[tokio::test]
async fn an_array_is_created_in_its_order() {
    let edith = Editor::start("bulk_good").await;
    let video = edith.video().await;
    let path = format!("/videos/{video}/placements");
    let mut items = vec![item(5, 6), new(&video, 1, 2), item(3, 4)];
    items[2]["region"] = json!({"x": 0, "y": 0, "width": 0.5, "height": 1});
    items[2]["label"] = json!("third");
    let made = edith.post(&path, &Value::from(items)).await;
    let body = made.expect(201);
    assert_eq!((made.header("location"), made.header("etag")), (Some(&*path), None));
    let all = body["placements"].as_array().unwrap();
    let starts: Vec<_> =
        all.iter().map(|one| (one["startMs"].as_i64().unwrap(), one["version"].as_i64().unwrap())).collect();
    assert_eq!(starts, [(5, 2), (1, 3), (3, 4)]);
    assert_eq!((&all[2]["label"], &all[2]["region"]["width"]), (&json!("third"), &json!(0.5)));
    assert_eq!((&body["revision"], &body["files"]["revision"]), (&json!(4), &json!(4)));
    let created = |number| (number, "placement.created");
    assert_eq!(edith.types(&video).await, numbered(&[(1, "video.created"), created(2), created(3), created(4)]));
    for one in all {
        let shown = edith.get(&format!("/placements/{}", one["id"].as_str().unwrap())).await;
        assert_eq!((&shown.expect(200), shown.header("etag").unwrap()), (one, &*format!("\"{}\"", one["version"])));
    }
    let shown = edith.get(&format!("/videos/{video}")).await.expect(200);
    assert_eq!((&shown["placements"], &shown["revision"]), (&json!(3), &json!(4)));
}

#[tokio::test]
async fn one_that_is_bad_keeps_all_others_out() {
    let edith = Editor::start("bulk_bad").await;
    let video = edith.video().await;
    let path = format!("/videos/{video}/placements");
    let other = "01890a5d-ac96-774b-bcce-b302099a8057";
    let items =
        json!([item(0, 1), new(other, 0, 1), item(2, 2), 7, {"productId": "mug", "startMs": 0, "endMs": 1, "x": 1}]);
    let refused = edith.post(&path, &items).await;
    refused.refused(422, "invalid_placement");
    assert_eq!(refused.pointers(), ["/1/videoId", "/2/endMs", "/3", "/4/x"]);
    for (body, detail) in [
        (json!([]), "must have at least one placement"),
        (json!({}), "must be an array of placements"),
        (Value::from(vec![item(0, 1); 1_001]), "must have at most 1000 placements"),
    ] {
        let refused = edith.post(&path, &body).await.refused(422, "invalid_placement");
        assert_eq!(refused["errors"], json!([{"pointer": "", "detail": detail}]));
    }
    edith.post(&format!("/videos/{other}/placements"), &json!([item(0, 1)])).await.refused(404, "video_not_found");
    edith.sql("UPDATE videos SET placements = 9998").await;
    edith.post(&path, &Value::from(vec![item(0, 1); 3])).await.refused(409, "too_many_placements");
    assert_eq!(edith.number("SELECT count(*) FROM placements").await, 0);
    assert_eq!(edith.number("SELECT last FROM sequences").await, 1);
    edith.post(&path, &Value::from(vec![item(0, 1); 2])).await.expect(201);
    edith.sql("UPDATE videos SET placements = 2").await;
    // As many as a call may have.
    let made = edith.post(&path, &Value::from(vec![item(0, 1); 1_000])).await.expect(201);
    assert_eq!((made["placements"].as_array().unwrap().len(), &made["revision"]), (1_000, &json!(1_003)));
}

#[tokio::test]
async fn each_placement_counts_in_the_rate_limit() {
    let settings = ["--rate-limit-reads-per-second=1", "--rate-limit-read-burst=20"];
    let edith = Editor::with("bulk_rate", &settings).await;
    let video = edith.video().await;
    let path = format!("/videos/{video}/placements");
    let many = async |count| edith.post(&path, &Value::from(vec![item(0, 1); count])).await;
    let made = many(10).await;
    made.expect(201);
    assert!(made.header("ratelimit").unwrap().starts_with("\"reads\";r="), "{made:?}");
    let refused = many(15).await;
    refused.refused(429, "rate_limited");
    many(21).await.refused(413, "too_many_ids");
}
