//! Kafka as Confluent Cloud has it: TLS, a certificate for a host name, and a login.

use std::sync::Arc;

use devstack::{Secured, Stack};
use serde_json::{Value, json};

use crate::kit::{System, blocking};

async fn start(name: &str) -> Arc<System> {
    let stack = || {
        let stack = Stack::start_secured("of-this-test-alone").unwrap();
        let settings = stack.kafka.secured().unwrap().env("PLAIN");
        (stack, settings)
    };
    System::start_on(name, stack).await
}

fn secured(system: &System) -> &Secured {
    system.stack.kafka.secured().unwrap()
}

async fn rows(system: &Arc<System>, expected: &str) {
    system
        .until("the event has its row", async || {
            let system = Arc::clone(system);
            blocking(move || system.sql("SELECT count(*) FROM events")).await == expected
        })
        .await;
}

async fn kafka_is_up(system: &System, ops: &str) -> bool {
    let asked = system.http.get(format!("{ops}/health/ready")).send().await;
    let Ok(answer) = asked else { return false };
    answer.json::<Value>().await.unwrap()["dependencies"]["kafka"]["status"] == "up"
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_work_over_it_with_every_mechanism() {
    let system = start("secured").await;
    let worker = system.worker();
    system.until("the worker is ready", async || worker.status().await == "ready").await;
    system.until("Kafka is up", async || kafka_is_up(&system, &system.ops).await).await;
    assert_eq!(system.post("plain", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    rows(&system, "1").await;
    // Dead letters go the same way, and so do the commands.
    let (brokers, topic) = (&system.scope.endpoints.kafka_brokers, &system.scope.input_topic);
    crate::kit::put(brokers, topic, "no-event", "not an event").await;
    system.until("there is a dead letter", async || system.dead_letters().await == 1).await;
    let (listed, said) = system.command(&["dlq", "list", "--json"], &[]).await;
    assert!(listed && said.contains("undecodable"), "{said}");
    worker.end().await;

    for (number, of_api, of_worker) in
        [("2", "SCRAM-SHA-256", "SCRAM-SHA-512"), ("3", "scram-sha-512", "scram-sha-256")]
    {
        let api = system.another_api_with(&[("KAFKA_SASL_MECHANISM", of_api)]);
        let worker = system.worker_with(&[("KAFKA_SASL_MECHANISM", of_worker)]);
        system.until("Kafka is up", async || kafka_is_up(&system, &api.ops).await).await;
        let event = json!({"device_id": of_api, "payload": {}});
        let post = system.http.post(format!("{}/events", api.base)).bearer_auth(&system.token).json(&event);
        assert_eq!(post.send().await.unwrap().status(), 202, "{of_api}");
        rows(&system, number).await;
        worker.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_wrong_certificate_are_refused_and_the_log_says_why() {
    let system = start("secured-wrong").await;
    let (other, by_address) =
        (secured(&system).other_authority.to_string_lossy(), secured(&system).brokers_by_address());
    let wrong: [(&[(&str, &str)], &str); 4] = [
        (&[("KAFKA_SASL_PASSWORD", "planted-wrong")], "Invalid username or password"),
        (&[("KAFKA_SASL_PASSWORD", "planted-wrong"), ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")], "invalid credentials"),
        (&[("KAFKA_SSL_CA_LOCATION", &other)], "certificate verify failed"),
        (&[("KAFKA_BROKERS", &by_address)], "certificate verify failed"),
    ];
    for (settings, why) in wrong {
        let api = system.another_api_with(settings);
        let worker = system.worker_with(settings);
        for (service, name) in [(&api.service, "api"), (&worker.service, "worker")] {
            system.until(&format!("the {name} says {why:?}"), async || service.log().contains(why)).await;
            assert!(!service.log().contains("planted-wrong"));
        }
        let report: Value =
            system.http.get(format!("{}/health/ready", api.ops)).send().await.unwrap().json().await.unwrap();
        assert_eq!(report["dependencies"]["kafka"]["status"], "down", "{settings:?}");
        assert_ne!(worker.status().await, "ready", "{settings:?}");
        let (done, said) = system.command(&["setup"], settings).await;
        assert!(!done && said.contains(why), "{settings:?}: {said}");
        assert!(!said.contains("planted-wrong"));
    }
    // The very same settings with the right values are good.
    let (done, said) = system.command(&["setup"], &[]).await;
    assert!(done, "{said}");
}
