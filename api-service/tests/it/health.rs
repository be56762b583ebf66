//! Liveness and readiness.

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use shared::kafka::topics::setup;

use crate::prelude::*;

async fn until(app: &TestApp, status: u16, expected: &Value) {
    let is_it = async || {
        let response = app.request("GET", "/health/ready").send().await.unwrap();
        let last: (u16, Value) = (response.status().as_u16(), response.json().await.unwrap());
        if last == (status, expected.clone()) { Ok(()) } else { Err(last) }
    };
    found("it is this answer", is_it).await;
}

async fn is_live(app: &TestApp) {
    let response = app.request("GET", "/health/live").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"status": "live"}));
}

fn kafka() -> Value {
    json!({"status": "up", "warning": "min.insync.replicas of the input topic is below 2"})
}

#[tokio::test]
async fn ready_with_all_and_a_warning_of_one_replica() {
    let app = TestApp::start("health").await;
    is_live(&app).await;
    let up = json!({"status": "up"});
    let all = json!({"kafka": kafka(), "postgres": up, "redis": up});
    until(&app, 200, &json!({"status": "ready", "dependencies": all})).await;
}

/// `setup` recommends `min.insync.replicas` of 2, but with one replica an event is still on one disk.
#[tokio::test]
async fn a_warning_of_one_replica_whatever_min_insync_replicas_is() {
    let scope = prepared("health_replicas").await;
    let client = shared::kafka::client(&config(&scope, &[]).backbone.kafka).unwrap();
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let two = AlterConfig::new(ResourceSpecifier::Topic(&scope.input_topic)).set("min.insync.replicas", "2");
    admin.alter_configs(&[two], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let is_two = async || setup::write_limits(&client, &scope.input_topic).await.unwrap().min_insync_replicas == 2;
    devstack::kit::until("two replicas are needed", is_two).await;
    let app = TestApp::prepared(scope, &[]).await;
    let (kafka, up) = ("a partition of the input topic has fewer than 2 replicas", json!({"status": "up"}));
    let all = json!({"kafka": {"status": "up", "warning": kafka}, "postgres": up, "redis": up});
    until(&app, 200, &json!({"status": "ready", "dependencies": all})).await;
}

#[tokio::test]
async fn a_database_of_another_encoding_is_down_and_named() {
    let scope = prepared("health_encoding").await;
    let (server, name) = scope.database_url.rsplit_once('/').unwrap();
    let other = format!("{name}_l");
    let create = format!("CREATE DATABASE \"{other}\" TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    devstack::psql(&scope.database_url, &create).unwrap();
    let url = format!("{server}/{other}");
    let binary = Binary::with(&scope, &[("DATABASE_URL", url.as_str())]);
    let down = async || binary.public_ready().await.1["dependencies"]["postgres"]["status"] == "down";
    let expected = format!("the encoding of the database {other} is LATIN1, and UTF8 is needed");
    let told = async || down().await && binary.seen().iter().any(|line| line.contains(&expected));
    devstack::kit::until("it says so", told).await;
    let (_, seen) = binary.terminate();
    assert!(seen.iter().any(|line| line.contains(&expected)), "{seen:#?}");
}

#[tokio::test]
async fn live_and_not_ready_without_any() {
    let brokers = nowhere("--kafka-brokers=127.0.0.1:PORT");
    let database = nowhere("--database-url=postgres://127.0.0.1:PORT/none");
    let redis = nowhere("--redis-url=redis://127.0.0.1:PORT");
    let app = TestApp::with("health_none", &[&brokers, &database, &redis, "--redis-timeout=100ms"]).await;
    let down = json!({"status": "down"});
    let all = json!({"kafka": down, "postgres": down, "redis": down});
    until(&app, 503, &json!({"status": "unready", "dependencies": all})).await;
    is_live(&app).await;
}
