//! Kafka with client certificates (mutual TLS), from files and from the settings themselves.

use devstack::logs::PLANTED;

use crate::kit::owned;
use crate::prelude::*;
use crate::secured_kafka::{refused, secured, works};

/// The settings of the mutual listener, with this certificate and key, each with its setting.
fn settings(brokers: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    [owned(&[("KAFKA_BROKERS", brokers), ("KAFKA_SECURITY_PROTOCOL", "SSL")]), owned(more)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_work_with_a_certificate_from_files_and_from_settings() {
    let secured = secured().await;
    let (certificate, key) = (secured.client.certificate.to_string_lossy(), secured.client.key.to_string_lossy());
    let password = format!("{PLANTED}-key");
    let encrypted = secured.client.encrypted(&password).unwrap();
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let authority = secured.authority.to_string_lossy();
    let from_files = [
        ("KAFKA_SSL_CA_LOCATION", &*authority),
        ("KAFKA_SSL_CERTIFICATE_LOCATION", &certificate),
        ("KAFKA_SSL_KEY_LOCATION", &key),
    ];
    // In one line, as a file of variables for Docker has it.
    let in_one_line = read(&certificate).replace('\n', "\\n");
    let (authority, encrypted) = (read(&authority), read(&encrypted.to_string_lossy()));
    let from_settings = [
        ("KAFKA_SSL_CA_PEM", authority.as_str()),
        ("KAFKA_SSL_CERTIFICATE_PEM", &in_one_line),
        ("KAFKA_SSL_KEY_PEM", &encrypted),
        ("KAFKA_SSL_KEY_PASSWORD", &password),
    ];
    for (name, more) in [("kafka-files", &from_files[..]), ("kafka-pem", &from_settings)] {
        let settings = settings(&secured.mutual_brokers(), more);
        let system = System::start_on(name, Servers::default(), settings).await;
        works(&system).await.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_so_is_a_client_without_a_certificate() {
    let secured = secured().await;
    let plain = System::start("kafka-strangers", &[]).await;
    let (brokers, authority) = (secured.mutual_brokers(), secured.authority.to_string_lossy());
    let nobody = [
        ("KAFKA_BROKERS", brokers.as_str()),
        ("KAFKA_SECURITY_PROTOCOL", "SSL"),
        ("KAFKA_SSL_CA_LOCATION", &authority),
    ];
    let (certificate, key) = (secured.stranger.certificate.to_string_lossy(), secured.stranger.key.to_string_lossy());
    let stranger = [("KAFKA_SSL_CERTIFICATE_LOCATION", &*certificate), ("KAFKA_SSL_KEY_LOCATION", &key)];
    let stranger = [&nobody[..], &stranger].concat();
    tokio::join!(refused(&plain, &nobody, "alert"), refused(&plain, &stranger, "alert"));
    // A certificate with the key of another one ends the start.
    let certificate = secured.client.certificate.to_string_lossy();
    let mixed = [&stranger[..], &[("KAFKA_SSL_CERTIFICATE_LOCATION", &*certificate)]].concat();
    for command in ["run", "setup"] {
        let (done, said) = plain.command(&[command], &mixed).await;
        assert!(!done && said.contains("key values mismatch"), "{command}: {said}");
    }
}
