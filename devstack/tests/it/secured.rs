//! The secured listener takes whoever logs in, and nobody else.

use std::time::Duration;

use devstack::{Secured, Stack};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

fn takes(secured: &Secured, mechanism: &str, password: &str) -> bool {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", secured.brokers()).set("security.protocol", "SASL_SSL");
    config.set("ssl.ca.location", secured.authority.to_string_lossy());
    config.set("sasl.mechanisms", mechanism).set("sasl.username", secured.username).set("sasl.password", password);
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.fetch_metadata(None, Duration::from_secs(5)).is_ok()
}

#[test]
fn each_mechanism_takes_the_password_and_no_other() {
    let stack = Stack::start_secured("of-this-test-alone").unwrap();
    let secured = stack.kafka.secured().unwrap();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert!(takes(secured, mechanism, &secured.password), "{mechanism}");
        assert!(!takes(secured, mechanism, "another"), "{mechanism}");
    }
    // Its users are still there after a restart.
    stack.kafka.restart().unwrap();
    assert!(takes(secured, "SCRAM-SHA-512", &secured.password));
}
