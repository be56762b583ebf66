//! Writes to the topics, and reads from them.

use std::ops::RangeInclusive;

use devstack::wire::produce_as;
use rdkafka::admin::{AdminClient, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureRecord, Producer};

use crate::prelude::*;

/// Names and values of a record's headers.
type Headers<'a> = &'a [(&'a str, Option<&'a [u8]>)];

/// The settings that setup gives to every topic.
const SETUP: [(&str, &str); 2] = [("message.timestamp.type", "LogAppendTime"), ("compression.type", "uncompressed")];

impl Kit {
    /// Writes exactly this record to the input topic, as any other client could.
    pub(crate) async fn put(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>) -> (i32, i64) {
        self.put_on(&self.scope.input_topic, (None, None), key, value, headers).await
    }

    /// The same on any topic; partition and timestamp may be set.
    async fn put_on(
        &self,
        topic: &str,
        (partition, millis): (Option<i32>, Option<i64>),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers<'_>,
    ) -> (i32, i64) {
        let add = |all: OwnedHeaders, (key, value): &(&str, Option<&[u8]>)| all.insert(Header { key, value: *value });
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers.iter().fold(OwnedHeaders::new(), add));
        (record.key, record.payload, record.partition, record.timestamp) = (key, value, partition, millis);
        let delivered = self.producer.send(record, TEST_TIMEOUT).await.unwrap();
        (delivered.partition, delivered.offset)
    }

    /// Writes this many records that are not events to the input topic, each with another key.
    pub(crate) async fn poison(&self, count: usize, headers: Headers<'_>) {
        let keys: Vec<_> = (0..count).map(|n| format!("d{n}")).collect();
        join_all(keys.iter().map(|key| self.put(Some(key.as_bytes()), Some(b"x"), headers))).await;
    }

    /// Writes an event to the topic as the API does.
    pub(crate) async fn event(&self, device: &str, id: &str, payload: &str) -> (i32, i64) {
        self.event_with(device, id, payload, &[]).await
    }

    /// The same for each of these numbers in order; the number is the event's id and in its payload.
    pub(crate) async fn events(&self, device: &str, numbers: RangeInclusive<i64>) {
        for n in numbers {
            self.event(device, &n.to_string(), &format!(r#"{{"n":{n}}}"#)).await;
        }
    }

    /// Like [`Self::event`] on this partition, as a producer does that knows another number of partitions.
    pub(crate) async fn event_at(&self, partition: i32, device: &str, id: &str, payload: &str) {
        self.put_event((Some(partition), None), device, id, payload, &[]).await;
    }

    /// Like [`Self::event`] with more headers.
    pub(crate) async fn event_with(&self, device: &str, id: &str, payload: &str, more: &[(&str, &str)]) -> (i32, i64) {
        self.put_event((None, None), device, id, payload, more).await
    }

    /// The same with a partition and a timestamp of the producer's choice.
    pub(crate) async fn put_event(
        &self,
        place: (Option<i32>, Option<i64>),
        device: &str,
        id: &str,
        payload: &str,
        more: &[(&str, &str)],
    ) -> (i32, i64) {
        let event = event(device).id(id);
        let headers = event.headers();
        let all: Vec<_> = headers.iter().chain(more).map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let (key, value) = (Some(device.as_bytes()), Some(payload.as_bytes()));
        self.put_on(&self.scope.input_topic, place, key, value, &all).await
    }

    /// Writes many events to the topic as fast as Kafka accepts them; `of` returns the device of each.
    pub(crate) async fn flood(&self, count: usize, payload: &str, of: impl Fn(usize) -> String) {
        for n in 0..count {
            let device = of(n);
            let headers = owned_headers(&event(&device).id(n).headers());
            let mut record = FutureRecord::to(&self.scope.input_topic).headers(headers).key(&device).payload(payload);
            while let Err((error, again)) = self.producer.send_result(record) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
                tokio::time::sleep(Duration::from_millis(5)).await;
                record = again;
            }
        }
        let producer = self.producer.clone();
        blocking(move || producer.flush(TEST_TIMEOUT)).await.unwrap();
    }

    /// Writes a dead letter as the worker does, of an event that failed at this offset of the input topic's first
    /// partition.
    pub(crate) async fn letter(&self, device: &str, id: &str, died_at: i64, more: &[(&str, &str)]) -> (i32, i64) {
        let (offset, timestamp) = (died_at.to_string(), (1_000 + died_at).to_string());
        let event = event(device).id(id);
        let of_event = event.headers();
        let of_letter = [
            ("dlq.reason", "failed"),
            ("dlq.error", "SQLSTATE P0001: refused"),
            ("dlq.attempts", "4"),
            ("dlq.topic", &self.scope.input_topic),
            ("dlq.partition", "0"),
            ("dlq.offset", &offset),
            ("dlq.timestamp", &timestamp),
        ];
        let headers = of_event.iter().chain(&of_letter).chain(more);
        let all: Vec<_> = headers.map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let value = format!(r#"{{"secret":"{id}"}}"#);
        self.put_on(&self.scope.dlq_topic, (None, None), Some(device.as_bytes()), Some(value.as_bytes()), &all).await
    }

    /// Encodes a batch of records byte by byte, as no client would, and writes it to a topic's first partition; returns
    /// the first offset.
    pub(crate) async fn write(&self, topic: &str, records: &[WireRecord]) -> i64 {
        self.write_as(topic, records, Packing::None, 0).await.unwrap()
    }

    /// The same, packed, for records with this timestamp.
    pub(crate) async fn write_as(
        &self,
        topic: &str,
        records: &[WireRecord],
        packing: Packing,
        millis: i64,
    ) -> std::io::Result<i64> {
        let (broker, topic, records) = (self.scope.endpoints.kafka_brokers.clone(), topic.to_owned(), records.to_vec());
        blocking(move || produce_as(&broker, &topic, 0, &records, packing, millis)).await
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        client(&self.scope).create().unwrap()
    }

    /// Deletes a topic, and waits until it is gone.
    pub(crate) async fn delete_topic(&self, topic: &str) {
        self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        until("it is gone", async || !has_topic(&self.scope.endpoints.kafka_brokers, topic).await).await;
    }

    /// Deletes the records of the input topic's first partition before an offset.
    pub(crate) async fn delete_records(&self, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.scope.input_topic, 0, Offset::Offset(before)).unwrap();
        self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    /// Raises the number of the input topic's partitions, and waits until the producer knows.
    pub(crate) async fn add_partitions(&self, total: usize) {
        let more = [NewPartitions::new(&self.scope.input_topic, total)];
        self.admin().create_partitions(&more, &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        // The request updates the metadata of this very producer.
        let known = async || {
            let (producer, topic) = (self.producer.clone(), self.scope.input_topic.clone());
            let ask = move || {
                producer.client().fetch_metadata(Some(&topic), TEST_TIMEOUT).unwrap().topics()[0].partitions().len()
            };
            blocking(ask).await == total
        };
        until("the partitions are there", known).await;
    }

    /// Sets a topic's settings; all others return to the server's defaults, except the two that setup gives to every
    /// topic. Waits until the brokers return the new ones.
    pub(crate) async fn set_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        let all: BTreeMap<_, _> = SETUP.iter().chain(settings).copied().collect();
        let new = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = all.iter().fold(new, |change, (name, value)| change.set(name, value));
        self.admin().alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let is_told = async || {
            let told = TopicSettings::of(&client(&self.scope), topic).await.unwrap();
            all.iter().all(|(name, value)| told.get(name) == Some(value))
        };
        until("its settings are told", is_told).await;
    }

    /// Makes a topic keep the compression of the producers, like a topic that setup did not create.
    pub(crate) async fn keep_compression(&self, topic: &str) {
        let largest = if topic == self.scope.dlq_topic { "1114112" } else { "1048576" };
        self.set_topic(topic, &[("compression.type", "producer"), ("max.message.bytes", largest)]).await;
    }

    /// Waits for this many records of the input topic, and returns all of them.
    pub(crate) async fn records(&self, at_least: usize) -> Vec<OwnedMessage> {
        self.read(&self.scope.input_topic, at_least).await
    }

    /// Waits for this many dead letters, and returns all of them.
    pub(crate) async fn dead_letters(&self, at_least: usize) -> Vec<OwnedMessage> {
        self.read(&self.scope.dlq_topic, at_least).await
    }

    async fn read(&self, topic: &str, at_least: usize) -> Vec<OwnedMessage> {
        let (brokers, topic) = (self.scope.endpoints.kafka_brokers.clone(), topic.to_owned());
        blocking(move || read_all(&brokers, &topic, at_least)).await
    }

    /// The offsets of the records in the input topic's first partition.
    pub(crate) async fn offsets(&self) -> Vec<i64> {
        let (config, topic) = (client(&self.scope), self.scope.input_topic.clone());
        let read = move || {
            let consumer: BaseConsumer =
                config.clone().set("group.id", "offsets").set("enable.partition.eof", "true").create().unwrap();
            let mut beginning = TopicPartitionList::new();
            beginning.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
            consumer.assign(&beginning).unwrap();
            let mut found = Vec::new();
            loop {
                match consumer.poll(TEST_TIMEOUT).unwrap() {
                    Ok(message) => found.push(message.offset()),
                    Err(KafkaError::PartitionEOF(_)) => return found,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        blocking(read).await
    }

    /// Commits this offset of the first partition for the group.
    pub(crate) async fn commit(&self, offset: i64) {
        let scope = self.scope.clone();
        blocking(move || {
            let group: BaseConsumer = client(&scope).set("group.id", &scope.group).create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&scope.input_topic, 0, Offset::Offset(offset)).unwrap();
            group.commit(&list, CommitMode::Sync).unwrap();
        })
        .await;
        assert_eq!(self.committed().await[&0], offset);
    }

    /// The group's committed offset by partition; 0 without one.
    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        self.ends().await.into_iter().map(|(partition, (committed, _))| (partition, committed)).collect()
    }

    /// The end of a partition's log, including open transactions.
    pub(crate) async fn log_end(&self, partition: i32) -> i64 {
        self.ends().await[&partition].1
    }

    async fn ends(&self) -> BTreeMap<i32, (i64, i64)> {
        let Scope { endpoints, input_topic, group, .. } = self.scope.clone();
        blocking(move || devstack::committed(&endpoints.kafka_brokers, &input_topic, &group).unwrap()).await
    }
}
