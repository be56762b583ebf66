//! Ways into a broker, each of which can be cut by itself.

use std::time::Duration;

use devstack::Stack;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::helpers::{consume, eventually, produce};

/// Where whoever asks here is sent to.
fn told(way: &str) -> Option<String> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", way).create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(2)).ok()?;
    metadata.brokers().first().map(|broker| format!("{}:{}", broker.host(), broker.port()))
}

#[test]
fn each_way_is_cut_by_itself_and_the_broker_keeps_what_it_has() {
    let stack = Stack::start().unwrap();
    if !stack.kafka.is_real() {
        return eprintln!("each_way_is_cut_by_itself_and_the_broker_keeps_what_it_has cannot run: Kafka is the mock");
    }
    produce(stack.kafka.brokers(), "kept", "before", true);
    let proxies = stack.kafka.proxies(2).unwrap();
    let ways: Vec<_> = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port)).collect();
    assert_eq!(consume(stack.kafka.brokers(), "kept"), "before");
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
