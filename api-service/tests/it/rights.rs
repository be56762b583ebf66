//! Who may do what.

use crate::app::{TestApp, admin, token, user};

async fn post(app: &TestApp, token: &str) -> u16 {
    app.submission(token, r#"{"device_id":"mine","payload":{}}"#).send().await.unwrap().status().as_u16()
}

/// 404 is "you may, but there is none".
async fn get(app: &TestApp, token: &str) -> u16 {
    app.request("GET", "/resource/mine").bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn roles_and_devices() {
    let app = TestApp::start("rights").await;
    let mine = token(&["device"], &["mine"]);
    let other = token(&["device"], &["other", "another"]);
    let unbound = token(&["device"], &[]);
    let both = token(&["device", "admin"], &["other"]);
    let nobody = token(&["guest"], &[]);
    for (who, token, may_post, may_get) in [
        ("a device", &mine, 202, 404),
        ("another device", &other, 403, 403),
        ("a device without devices", &unbound, 403, 403),
        ("an admin is not bound", &both, 202, 404),
        ("a user", &user(), 403, 404),
        ("an admin", &admin(), 202, 404),
        ("nobody", &nobody, 403, 403),
    ] {
        assert_eq!((post(&app, token).await, get(&app, token).await), (may_post, may_get), "{who}");
    }
}

#[tokio::test]
async fn the_binding_may_be_left_to_the_claim() {
    let app = TestApp::with("rights_claimed", &["--jwt-device-binding=claimed"]).await;
    let (unbound, other) = (token(&["device"], &[]), token(&["device"], &["other"]));
    assert_eq!((post(&app, &unbound).await, get(&app, &unbound).await), (202, 404));
    assert_eq!((post(&app, &other).await, get(&app, &other).await), (403, 403), "where it is there, it counts");
}
