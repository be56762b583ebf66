//! Lists of a video's placements, and products.

use crate::placements_kit::{Editor, Told, item, of};
use crate::prelude::*;

fn ids(body: &Value) -> Vec<String> {
    body["placements"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn placements_are_listed_by_their_start() {
    let edith = Editor::start("reads_placements").await;
    let video = edith.video().await;
    let path = format!("/videos/{video}/placements");
    let none = edith.get(&path).await;
    assert_eq!(none.expect(200), json!({"placements": [], "revision": 1, "next": null}));
    assert_eq!(none.header("cache-status"), Some("resource-cache; fwd=bypass"), "it is never cached");
    let ranges = [(500, 900), (0, 100), (100, 200), (100, 600), (0, 1_000)];
    let items: Vec<_> = ranges.iter().map(|(start, end)| item(*start, *end)).collect();
    let made = edith.post(&path, &items.into()).await.expect(201);
    edith.placement(&edith.video().await, 0, 1).await;

    let mut expected: Vec<_> = made["placements"].as_array().unwrap().clone();
    expected.sort_by_key(|one| (one["startMs"].as_i64(), one["id"].as_str().map(str::to_owned)));
    let all = edith.get(&path).await.expect(200);
    assert_eq!(all, json!({"placements": expected, "revision": 6, "next": null}));

    // Page by page, each of them comes once.
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = edith.get(&format!("{path}?limit=2{next}")).await.expect(200);
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        let Some(after) = page["next"].as_str() else { break };
        next = format!("&after={after}");
    }
    assert_eq!(seen, ids(&all));

    // Half-open: what ends where the time begins does not meet it.
    let starts = async |query: &str| -> Vec<i64> {
        let page = edith.get(&format!("{path}?{query}")).await.expect(200);
        page["placements"].as_array().unwrap().iter().map(|one| one["endMs"].as_i64().unwrap()).collect()
    };
    let sorted = async |query: &str| {
        let mut all = starts(query).await;
        all.sort_unstable();
        all
    };
    assert_eq!(sorted("from=100&to=500").await, [200, 600, 1_000]);
    assert_eq!(sorted("from=900").await, [1_000]);
    assert_eq!(sorted("to=1").await, [100, 1_000]);
    assert_eq!(sorted("from=1000").await, [0_i64; 0]);
    assert_eq!(sorted("from=500&to=500").await, [0_i64; 0]);
    assert_eq!(sorted("from=600&to=100").await, [0_i64; 0]);

    // What is deleted is not there.
    let first = &ids(&all)[0];
    edith.send(&format!("DELETE /placements/{first}"), &[("if-match", "*")], &Value::Null).await.expect(204);
    let left = edith.get(&path).await.expect(200);
    assert_eq!((ids(&left), &left["revision"]), (ids(&all)[1..].to_vec(), &json!(7)));

    for bad in ["limit=0", "limit=1001", "after=7", "from=-1", "to=86400001", "from=1&from=2"] {
        edith.get(&format!("{path}?{bad}")).await.refused(400, "bad_request");
    }
    for none in ["x", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        edith.get(&format!("/videos/{none}/placements")).await.refused(404, "video_not_found");
    }
    let large = edith.post(&path, &Value::from(vec![item(0, 1); 200])).await;
    large.expect(201);
    let packed = edith.call(&format!("GET {path}"), &[("accept-encoding", "gzip")], &Value::Null).send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn products_are_set_shown_and_listed() {
    let edith = Editor::start("reads_products").await;
    let put = async |id: &str, body: Value| {
        let request = edith.app.request("PUT", &format!("/products/{id}")).bearer_auth(of("root", &["admin"]));
        let request = request.header("content-type", "application/json").body(body.to_string());
        Told::of(request.send().await.unwrap()).await
    };
    edith.get("/products/mug").await.refused(404, "product_not_found");
    let mug = json!({"name": "A mug", "active": true});
    let made = put("mug", mug.clone()).await.expect(201);
    assert_eq!(
        (&made["id"], &made["name"], &made["active"], &made["version"]),
        (&json!("mug"), &json!("A mug"), &json!(true), &json!(1))
    );
    assert_eq!(put("mug", mug).await.expect(200), made, "the same again changes nothing");
    let off = put("mug", json!({"name": "A mug", "active": false})).await.expect(200);
    assert_eq!((&off["active"], &off["version"], &off["createdAt"]), (&json!(false), &json!(2), &made["createdAt"]));
    let shown = edith.get("/products/mug").await;
    assert_eq!((shown.expect(200), shown.header("etag")), (off.clone(), Some("\"2\"")));
    assert_eq!(edith.send("GET /products/mug", &[("if-none-match", "\"2\"")], &Value::Null).await.status, 304);

    let name = |name: &str| json!({"name": name, "active": true});
    for id in ["Bowl", "a.b:c-1_", "zz"] {
        put(id, name("x")).await.expect(201);
    }
    let listed = async |query: &str| {
        let page = edith.get(&format!("/products{query}")).await.expect(200);
        let ids: Vec<_> = page["products"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        (Value::from(ids), page["next"].clone())
    };
    assert_eq!(listed("").await, (json!(["Bowl", "a.b:c-1_", "mug", "zz"]), Value::Null));
    assert_eq!(listed("?limit=2").await, (json!(["Bowl", "a.b:c-1_"]), json!("a.b:c-1_")));
    assert_eq!(listed("?limit=2&after=a.b:c-1_").await, (json!(["mug", "zz"]), Value::Null));
    edith.get("/products?after=a%20b").await.refused(400, "bad_request");

    let refused = put("mug", json!({"name": "", "id": "mug"})).await;
    refused.refused(422, "invalid_product");
    assert_eq!(refused.pointers(), ["/active", "/id", "/name"]);
    put("a%20b", name("x")).await.refused(404, "product_not_found");
    // No event tells of products.
    assert_eq!(edith.number("SELECT count(*) FROM outbox").await, 0);
}
