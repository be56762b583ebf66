//! The token of the walk-through: HS256 with the short public secret, and only the required claims.

use jsonwebtoken::Algorithm;

use crate::prelude::*;
use crate::tables::signed;

const SECRET: &str = "local-dev-secret";

fn token() -> String {
    let least = json!({"sub": "device-tester", "roles": ["device", "user"], "iss": null, "aud": null});
    signed(Algorithm::HS256, SECRET, least)
}

#[tokio::test]
async fn the_token_of_the_walk_posts_and_reads() {
    let secret = format!("--jwt-secret={SECRET}");
    let settings = ["--jwt-allow-short-secret=true", "--jwt-device-binding=claimed", &secret];
    let app = TestApp::with("walk", &settings).await;
    let event = r#"{"device_id": "device-123", "payload": {"status": "online", "temp_c": 37.2}}"#;
    let posted = app.submission(&token(), event).send().await.unwrap();
    assert_eq!(posted.status(), 202);
    let accepted: Value = posted.json().await.unwrap();
    assert_eq!(accepted["status"], "accepted");
    assert!(accepted["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{accepted}");
    work(&app, 1).await;
    for source in ["resource-cache; fwd=miss; stored", "resource-cache; hit"] {
        let read = app.request("GET", "/resource/device-123").bearer_auth(token()).send().await.unwrap();
        assert_eq!((read.status().as_u16(), read.headers()["cache-status"].to_str().unwrap()), (200, source));
        let resource: Value = read.json().await.unwrap();
        assert_eq!(resource["payload"], json!({"status": "online", "temp_c": 37.2}));
    }
    // Another secret of the same length is not accepted.
    let app = TestApp::with("walk_other", &[settings[0], settings[1], "--jwt-secret=local-dev-secreT"]).await;
    assert_eq!(problem(app.submission(&token(), event).send().await.unwrap()).await["code"], "invalid_token");
}

#[tokio::test]
async fn a_short_secret_is_loud_in_the_log_and_stays_out_of_it() {
    let scope = scope("walk_loud").await;
    let short = [("JWT_SECRET", "planted"), ("JWT_ALLOW_SHORT_SECRET", "true")];
    for (settings, warnings) in [(&short[..], 1), (&[], 0)] {
        let (status, seen) = Binary::with(&scope, settings).terminate();
        assert_eq!(status, Some(0));
        let lines: Vec<Value> = seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let loud: Vec<_> = lines
            .iter()
            .filter(|line| line["message"].as_str().is_some_and(|message| message.contains("JWT_ALLOW_SHORT_SECRET")))
            .collect();
        assert_eq!(loud.len(), warnings, "{seen:#?}");
        assert!(loud.iter().all(|line| line["level"] == "WARN"), "{loud:?}");
        let says = |text: &str| loud.iter().all(|line| line["message"].as_str().unwrap().contains(text));
        assert!(says("for development only"), "{loud:?}");
        assert!(!seen.iter().any(|line| line.contains("planted")), "{seen:#?}");
    }
}
