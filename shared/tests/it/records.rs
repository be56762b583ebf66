//! Records with any bytes that a client can write are read unchanged.

use devstack::Scope;
use devstack::kit::read_some;
use devstack::wire::{Packing, WireRecord, produce, produce_as};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use shared::kafka::topics::setup::{TopicCompression, TopicShape};
use shared::kafka::{Fetched, Record, next_fetched};

use crate::prelude::*;

/// Longer than any operation here takes, even under valgrind.
const TIMEOUT: Duration = Duration::from_secs(300);

fn read(scope: &Scope, count: usize) -> Vec<Record> {
    let found = read_some(&scope.endpoints.kafka_brokers, &scope.input_topic, count, TIMEOUT, Record::of);
    assert_eq!(found.len(), count);
    found
}

fn make_topic(scope: &Scope, compression: TopicCompression) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &scope.endpoints.kafka_brokers);
    let topics = shared::kafka::TopicConfig { input: scope.input_topic.clone(), dlq: scope.dlq_topic.clone() };
    let shape = TopicShape { partitions: 1, replication: 1, min_insync_replicas: 1, compression };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(shared::kafka::topics::setup::create(&client, &topics, &shape)).unwrap();
}

fn bytes(rng: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let length = rng.usize(..=most);
    // Few different bytes, so that NULs and equal names occur.
    (0..length).map(|_| *rng.choice(b"\0a\xff\xc3\xa9").unwrap()).collect()
}

fn any_record(rng: &mut fastrand::Rng) -> WireRecord {
    let mut part = |most| rng.bool().then(|| bytes(rng, most));
    let (key, value) = (part(5), part(9));
    let headers = (0..rng.usize(..5)).map(|_| (bytes(rng, 6), rng.bool().then(|| bytes(rng, 6)))).collect();
    WireRecord { key, value, headers }
}

#[test]
fn every_byte_of_a_record_comes_as_it_was_written() {
    let scope = Scope::new("any_bytes").unwrap();
    make_topic(&scope, TopicCompression::Uncompressed);
    let mut rng = fastrand::Rng::with_seed(24);
    let mut written: Vec<_> = (0..300).map(|_| any_record(&mut rng)).collect();
    let long = |byte| Some(vec![byte; 200_000]);
    written.push(WireRecord {
        key: long(1),
        value: None,
        headers: vec![(vec![0xff; 200_000], long(0)), (vec![0; 300_000], None)],
    });
    written.push(WireRecord { headers: vec![(b"\0".to_vec(), None); 1_000], ..WireRecord::default() });
    for batch in written.chunks(7) {
        produce(&scope.endpoints.kafka_brokers, &scope.input_topic, 0, batch).unwrap();
    }
    for (expected, found) in written.iter().zip(read(&scope, written.len())) {
        let headers = found.headers().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
        let found = WireRecord {
            key: found.key().map(<[u8]>::to_vec),
            value: found.value().map(|value| value.to_vec()),
            headers: headers.collect(),
        };
        assert!(*expected == found, "{expected:?} came as {found:?}");
    }
}

#[test]
fn of_more_headers_than_the_client_reads_none_is_taken_for_all() {
    let scope = Scope::new("many_headers").unwrap();
    make_topic(&scope, TopicCompression::Uncompressed);
    let with = |count| WireRecord {
        value: Some(b"x".to_vec()),
        headers: vec![(b"n".to_vec(), None); count],
        ..WireRecord::default()
    };
    for count in [100_000, 100_001] {
        produce(&scope.endpoints.kafka_brokers, &scope.input_topic, 0, &[with(count)]).unwrap();
    }
    let found: Vec<_> =
        read(&scope, 2).iter().map(|record| (record.headers().count(), record.headers_are_unread())).collect();
    assert_eq!(found, [(100_000, false), (0, true)]);
}

/// The error of a batch that the client does not decompress has its first offset, whatever offset in it is read.
#[test]
fn an_error_says_where_its_batch_begins() {
    let scope = Scope::new("placed_errors").unwrap();
    make_topic(&scope, TopicCompression::Producer);
    let (broker, topic) = (&scope.endpoints.kafka_brokers, &scope.input_topic);
    let record = |bytes| WireRecord { value: Some(vec![0; bytes]), ..WireRecord::default() };
    produce(broker, topic, 0, &[record(1)]).unwrap();
    produce_as(broker, topic, 0, &vec![record(200_000); 3], Packing::Zstd, 0).unwrap();
    produce(broker, topic, 0, &[record(1)]).unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("message.max.bytes", "100000")
        .set("fetch.max.bytes", "100000")
        .set("receive.message.max.bytes", "200000")
        .create()
        .unwrap();
    let found = |offset, count: usize| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        consumer.assign(&list).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let mut found = Vec::new();
        while found.len() < count {
            assert!(Instant::now() < deadline, "{found:?}");
            found.extend(next_fetched(&consumer, Duration::from_millis(100)));
        }
        found
    };
    let is_refused = |fetched: &Fetched| {
        let Fetched::Failed { offset: 1, code: RDKafkaErrorCode::BadCompression, text } = fetched else { return false };
        text.starts_with("Decompression (codec 0x4) of message at 1 of ")
    };
    let first = found(0, 2);
    assert!(first[0] == Fetched::Record(0) && is_refused(&first[1]), "{first:?}");
    for offset in 1..4 {
        let again = found(offset, 1);
        assert!(is_refused(&again[0]), "{offset}: {again:?}");
    }
    assert_eq!(found(4, 2), [Fetched::Record(4), Fetched::End]);
}
