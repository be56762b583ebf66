//! Who may call what.

use crate::placements_kit::{Editor, Told, item, new, of};
use crate::prelude::*;

#[tokio::test]
async fn who_may_call_what() {
    let edith = Editor::start("placements_rights").await;
    let video = edith.video().await;
    let placement = edith.placement(&video, 0, 1).await.text("id");
    let table = [
        //                                                            user editor plugin admin device nobody
        ("POST /videos".to_owned(), json!({"title": "t", "durationMs": 1}), [403, 201, 201, 201, 403, 401]),
        ("GET /videos".to_owned(), Value::Null, [200, 200, 200, 200, 403, 401]),
        (format!("GET /videos/{video}"), Value::Null, [200, 200, 200, 200, 403, 401]),
        (format!("PATCH /videos/{video}"), json!({"title": "t"}), [403, 200, 200, 200, 403, 401]),
        ("POST /placements".to_owned(), new(&video, 0, 1), [403, 201, 201, 201, 403, 401]),
        (format!("POST /videos/{video}/placements"), json!([item(0, 1)]), [403, 201, 201, 201, 403, 401]),
        (format!("GET /videos/{video}/placements"), Value::Null, [200, 200, 200, 200, 403, 401]),
        (format!("GET /placements/{placement}"), Value::Null, [200, 200, 200, 200, 403, 401]),
        (format!("PATCH /placements/{placement}"), json!({"layer": 1}), [403, 200, 200, 200, 403, 401]),
        ("POST /placements/check".to_owned(), new(&video, 0, 1), [403, 200, 200, 200, 403, 401]),
        ("POST /validation/validate".to_owned(), json!({"videoId": video}), [403, 200, 200, 200, 403, 401]),
        ("PUT /products/mug".to_owned(), json!({"name": "m", "active": true}), [403, 403, 403, 201, 403, 401]),
        ("GET /products".to_owned(), Value::Null, [200, 200, 200, 200, 403, 401]),
        ("GET /products/mug".to_owned(), Value::Null, [200, 200, 200, 200, 403, 401]),
        (format!("POST /videos/{video}/validations"), Value::Null, [403, 202, 202, 202, 403, 401]),
        (format!("DELETE /placements/{placement}"), Value::Null, [403, 204, 404, 404, 403, 401]),
        ("GET /schemas".to_owned(), Value::Null, [200; 6]),
        ("GET /asyncapi.json".to_owned(), Value::Null, [200; 6]),
    ];
    for (call, body, statuses) in table {
        let callers = [Some("user"), Some("editor"), Some("plugin"), Some("admin"), Some("device"), None];
        for (role, status) in callers.into_iter().zip(statuses) {
            let (method, path) = call.split_once(' ').unwrap();
            let mut request = edith.app.request(method, path).header("if-match", "*");
            if let Some(role) = role {
                request = request.bearer_auth(of("caller", &[role]));
            }
            if !body.is_null() {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let told = Told::of(request.send().await.unwrap()).await;
            assert_eq!(told.status, status, "{call} by {role:?}: {}", told.text);
            match status {
                401 => told.refused(401, "invalid_token"),
                403 => told.refused(403, "forbidden"),
                _ => Value::Null,
            };
        }
    }
    let validation = edith.send(&format!("POST /videos/{video}/validations"), &[], &Value::Null).await;
    for (role, status) in [("user", 200), ("editor", 200), ("plugin", 200), ("admin", 200), ("tracker", 403)] {
        let request = edith.app.request("GET", validation.header("location").unwrap()).bearer_auth(of("c", &[role]));
        assert_eq!(Told::of(request.send().await.unwrap()).await.status, status, "{role}");
    }
}
