//! Kafka as in Confluent Cloud: TLS, a certificate for a host name, and a login with a password.

use devstack::Secured;
use devstack::logs::{PLANTED, told};

use crate::kit::Running;
use crate::prelude::*;

/// The shared broker's secured listener.
pub(crate) async fn secured() -> Secured {
    blocking(|| devstack::endpoints().kafka_secured.clone().unwrap()).await
}

async fn start(name: &str) -> Arc<System> {
    System::start_on(name, Servers::default(), secured().await.env("PLAIN")).await
}

/// Both services work with the settings of this system: an event is applied, and dead letters and the operators'
/// commands use the same connection settings. Returns the worker.
pub(crate) async fn works(system: &System) -> Running {
    let worker = system.worker();
    system.until("the worker is ready", async || worker.status().await == "ready").await;
    system.until("Kafka is up", async || kafka_is_up(&system.api).await).await;
    assert_eq!(system.post("first", "1", &json!({"n": 1})).await.unwrap().status(), 202);
    rows(system, 1).await;
    system.put("no-event", "not an event", &[]).await;
    system.until("there is a dead letter", async || system.dead_letters().await == 1).await;
    let (listed, said) = system.command(&["dlq", "list", "--json"], &[]).await;
    assert!(listed && said.contains("undecodable"), "{said}");
    worker
}

pub(crate) async fn rows(system: &System, expected: usize) {
    system.until("the event has its row", async || system.rows().await == expected).await;
}

async fn kafka_is_up(api: &Api) -> bool {
    api.dependency("kafka").await["status"] == "up"
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_work_over_it_with_every_mechanism() {
    let system = start("secured").await;
    let worker = works(&system).await;
    worker.end().await;

    for (number, of_api, of_worker) in [(2, "SCRAM-SHA-256", "SCRAM-SHA-512"), (3, "scram-sha-512", "scram-sha-256")] {
        let api = system.another_api_with(&[("KAFKA_SASL_MECHANISM", of_api)]);
        let worker = system.worker_with(&[("KAFKA_SASL_MECHANISM", of_worker)]);
        system.until("Kafka is up", async || kafka_is_up(&api).await).await;
        assert_eq!(system.send_to(&api, &event(of_api)).await.unwrap().status(), 202, "{of_api}");
        rows(&system, number).await;
        worker.end().await;
    }
}

/// Also: neither service logs its credentials or the URL of the keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_and_a_wrong_certificate_are_refused_and_the_log_says_why() {
    let system = start("secured-wrong").await;
    let secured = secured().await;
    let (other, by_address) = (secured.other_authority.to_string_lossy(), secured.brokers_by_address());
    let password = ("KAFKA_SASL_PASSWORD", &*format!("{PLANTED}-wrong"));
    let wrong: [(&[(&str, &str)], &str); 4] = [
        (&[password], "Invalid username or password"),
        (&[password, ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")], "invalid credentials"),
        (&[("KAFKA_SSL_CA_LOCATION", &other)], "certificate verify failed"),
        (&[("KAFKA_BROKERS", &by_address)], "certificate verify failed"),
    ];
    join_all(wrong.map(|(settings, why)| refused(&system, settings, why))).await;
    // A listener without a login.
    let plain = System::start("secured-none", &[]).await;
    let login = [("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"), ("KAFKA_SASL_MECHANISM", "PLAIN"), password];
    refused(&plain, &[&login[..], &[("KAFKA_SASL_USERNAME", "nobody")]].concat(), "SASL").await;
    // The same settings with correct values work.
    let (done, said) = system.command(&["setup"], &[]).await;
    assert!(done, "{said}");
}

/// Runs both services and `setup` with settings that Kafka refuses, at the highest log level.
pub(crate) async fn refused(system: &System, settings: &[(&str, &str)], why: &str) {
    let talkative = [settings, &[("RUST_LOG", "trace")]].concat();
    let keys = format!("http://127.0.0.1:{}/jwks?key={PLANTED}", devstack::port::free());
    let api = system.another_api_with(&[&talkative[..], &[("JWT_JWKS_URL", &keys)]].concat());
    let worker = system.worker_with(&talkative);
    for (service, says) in [(&api.service, &[why, "cannot read the JWKS"][..]), (&worker.service, &[why])] {
        for says in says {
            system.until(&format!("it says {says:?}"), async || service.log().contains(says)).await;
        }
    }
    assert_eq!(api.dependency("kafka").await["status"], "down", "{settings:?}");
    assert_ne!(worker.status().await, "ready", "{settings:?}");
    let (done, said) = system.command(&["setup"], &talkative).await;
    assert!(!done && said.contains(why), "{settings:?}: {said}");
    for log in [api.service.log(), worker.service.log(), said] {
        assert!(log.contains("TRACE"));
        assert_eq!(log.lines().find_map(|line| told(line).map(|what| (what, line))), None);
    }
}
