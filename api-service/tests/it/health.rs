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

/// What an instance asks of Kafka is what it does with Kafka: one that accepts no events writes nothing there.
#[tokio::test]
async fn an_instance_that_accepts_no_events_is_ready_by_its_reads_alone() {
    let scope = prepared("health_reads").await;
    let with = |more: &[(&str, &str)]| Binary::with(&scope, more);
    let ready = async |binary: &Binary, status: u16, expected: &Value| {
        let is_it = async || {
            let last = binary.public_ready().await;
            if last == (status, expected.clone()) { Ok(()) } else { Err(last) }
        };
        found("it is this answer", is_it).await;
        binary.metrics().await
    };
    let (up, down) = (json!({"status": "up"}), json!({"status": "down"}));
    let (brokers, missing) = (nowhere("127.0.0.1:PORT"), "there-is-no-such-topic");
    let (database, redis) = (nowhere("postgres://127.0.0.1:PORT/none"), nowhere("redis://127.0.0.1:PORT"));
    let kafka = r#"dependency_up{dependency="Kafka"}"#;

    // It reads the topic of commands, to end requests that it holds.
    let reads = ("API_DOMAINS", "placements");
    let all = json!({"kafka": up, "postgres": up, "redis": up});
    ready(&with(&[reads]), 200, &json!({"status": "ready", "dependencies": all})).await;
    let all = json!({"kafka": down, "postgres": up, "redis": up});
    for without in [("KAFKA_BROKERS", brokers.as_str()), ("KAFKA_DOMAIN_TOPIC", missing)] {
        let instance = with(&[reads, without]);
        ready(&instance, 200, &json!({"status": "degraded", "dependencies": all})).await;
        // It is down before it is asked, too.
        devstack::kit::until("it was asked", async || instance.metrics().await.contains(&format!("{kafka} 0"))).await;
    }
    let away = [("DATABASE_URL", database.as_str()), ("REDIS_URL", redis.as_str())];
    let all = json!({"kafka": up, "postgres": down, "redis": down});
    ready(&with(&[reads, away[0], away[1]]), 503, &json!({"status": "unready", "dependencies": all})).await;

    // It does nothing with Kafka.
    let judges = ("API_DOMAINS", "validation");
    let all = json!({"postgres": up, "redis": up});
    let unasked = with(&[judges, ("KAFKA_BROKERS", brokers.as_str())]);
    let metrics = ready(&unasked, 200, &json!({"status": "ready", "dependencies": all})).await;
    assert!(metrics.contains("dependency_up") && !metrics.contains(kafka), "{metrics}");
    let all = json!({"postgres": down, "redis": down});
    ready(&with(&[judges, away[0], away[1]]), 503, &json!({"status": "unready", "dependencies": all})).await;
}
