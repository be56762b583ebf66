//! A broker's listener with a login, and proxies that can be cut individually.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devstack::{Kafka, Secured};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

use crate::helpers::{consume, eventually, produce};

/// The broker address that a client learns at this address.
fn told(way: &str) -> Option<String> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", way).create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(2)).ok()?;
    metadata.brokers().first().map(|broker| format!("{}:{}", broker.host(), broker.port()))
}

/// Whether the broker refused the login.
#[derive(Default)]
struct Refused(AtomicBool);

impl ClientContext for Refused {
    fn error(&self, error: KafkaError, _: &str) {
        let is_refusal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication);
        self.0.fetch_or(is_refusal, Ordering::Relaxed);
    }
}

impl ConsumerContext for Refused {}

/// Whether it accepts this login (true) or refuses it (false); panics without an answer.
fn takes(secured: &Secured, mechanism: &str, password: &str) -> bool {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", secured.brokers()).set("security.protocol", "SASL_SSL");
    config.set("ssl.ca.location", secured.authority.to_string_lossy());
    config.set("sasl.mechanisms", mechanism).set("sasl.username", &secured.username).set("sasl.password", password);
    let consumer: BaseConsumer<Refused> = config.create_with_context(Refused::default()).unwrap();
    let begin = Instant::now();
    loop {
        if consumer.fetch_metadata(None, Duration::from_millis(500)).is_ok() {
            return true;
        }
        drop(consumer.poll(Duration::ZERO));
        if consumer.context().0.load(Ordering::Relaxed) {
            return false;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{mechanism}: neither taken nor refused");
    }
}

#[test]
fn each_way_takes_whom_it_should_and_is_cut_by_itself_and_the_broker_keeps_what_it_has() {
    let kafka = Kafka::start(Some("of-this-test-alone")).unwrap();
    let secured = kafka.secured().unwrap();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert!(takes(secured, mechanism, &secured.password), "{mechanism}");
        assert!(!takes(secured, mechanism, "another"), "{mechanism}");
    }

    // The broker is restarted for the proxies.
    produce(kafka.brokers(), "kept", "before", true);
    let proxies = kafka.proxies(2).unwrap();
    assert!(takes(secured, "SCRAM-SHA-512", &secured.password), "its users are still there");
    let ways: Vec<_> = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port)).collect();
    assert_eq!(consume(kafka.brokers(), "kept"), "before");
    for way in &ways {
        assert_eq!(consume(way, "kept"), "before");
        eventually("nobody is sent past the way", || told(way).as_ref() == Some(way));
    }

    proxies[0].cut();
    assert_eq!(told(&ways[0]), None);
    eventually("the other way is open", || told(&ways[1]).is_some());
    proxies[0].mend();
    eventually("the way is open again", || told(&ways[0]).is_some());
}
