//! Ways into a broker, each of which can be cut by itself.

use devstack::Stack;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::helpers::{consume, eventually, produce};

fn answers(brokers: &str) -> bool {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    consumer.fetch_metadata(None, std::time::Duration::from_secs(2)).is_ok()
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
    }

    proxies[0].cut();
    assert!(!answers(&ways[0]));
    assert!(answers(&ways[1]));
    proxies[0].mend();
    eventually("the way is open again", || answers(&ways[0]));
}
