//! What is put on the topics, and what is on them.

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

/// What setup gives to every topic.
const SETUP: [(&str, &str); 2] = [("message.timestamp.type", "LogAppendTime"), ("compression.type", "uncompressed")];

impl Kit {
    /// Puts a record on the input topic as it stands, as any other client could.
    pub(crate) async fn put(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>) -> (i32, i64) {
        self.put_on(&self.scope.input_topic, (None, None), key, value, headers).await
    }

    /// The same on any topic; the producer may choose the partition and the time.
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
        let delivered = self.producer.send(record, PATIENCE).await.unwrap();
        (delivered.partition, delivered.offset)
    }

    /// Puts so many records that are no events on the input topic, each with another key.
    pub(crate) async fn poison(&self, count: usize, headers: Headers<'_>) {
        let keys: Vec<_> = (0..count).map(|n| format!("d{n}")).collect();
        join_all(keys.iter().map(|key| self.put(Some(key.as_bytes()), Some(b"x"), headers))).await;
    }

    /// Puts an event on the topic as the API does.
    pub(crate) async fn event(&self, device: &str, id: &str, payload: &str) -> (i32, i64) {
        self.event_with(device, id, payload, &[]).await
    }

    /// The same with these numbers, one after the other, each the event's id and its payload.
    pub(crate) async fn events(&self, device: &str, numbers: RangeInclusive<i64>) {
        for n in numbers {
            self.event(device, &n.to_string(), &format!(r#"{{"n":{n}}}"#)).await;
        }
    }

    /// The same as [`Self::event`] on this partition, as a producer does that knows of another number of them.
    pub(crate) async fn event_at(&self, partition: i32, device: &str, id: &str, payload: &str) {
        self.put_event((Some(partition), None), device, id, payload, &[]).await;
    }

    /// The same as [`Self::event`] with more headers.
    pub(crate) async fn event_with(&self, device: &str, id: &str, payload: &str, more: &[(&str, &str)]) -> (i32, i64) {
        self.put_event((None, None), device, id, payload, more).await
    }

    /// The same with a partition and a time that the producer chose.
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

    /// Puts many events on the topic, as fast as Kafka takes them; `of` gives each its device.
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
        blocking(move || producer.flush(PATIENCE)).await.unwrap();
    }

    /// Puts a dead letter on its topic as the worker does, of an event that died at this offset of
    /// the input topic's first partition.
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

    /// Writes a batch of records to a topic's first partition byte by byte, as no client would; gives the first offset.
    pub(crate) async fn write(&self, topic: &str, records: &[WireRecord]) -> i64 {
        self.write_as(topic, records, Packing::None, 0).await.unwrap()
    }

    /// The same, packed, of records that have this time.
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

    /// Deletes the records of the input topic's first partition that are before an offset.
    pub(crate) async fn delete_records(&self, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.scope.input_topic, 0, Offset::Offset(before)).unwrap();
        self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    /// Gives the input topic so many partitions, and waits until producers know.
    pub(crate) async fn add_partitions(&self, total: usize) {
        let more = [NewPartitions::new(&self.scope.input_topic, total)];
        self.admin().create_partitions(&more, &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        // Asking lets this very producer know.
        let known = async || {
            let (producer, topic) = (self.producer.clone(), self.scope.input_topic.clone());
            let ask = move || {
                producer.client().fetch_metadata(Some(&topic), PATIENCE).unwrap().topics()[0].partitions().len()
            };
            blocking(ask).await == total
        };
        until("the partitions are there", known).await;
    }

    /// Settings of a topic; what is not named goes back to the server's defaults, but for the two that setup gives to
    /// every topic. Waits until the brokers tell of them.
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

    /// Has a topic keep batches as their producers compressed them, as topics do that setup did not make.
    pub(crate) async fn keep_compression(&self, topic: &str) {
        let largest = if topic == self.scope.dlq_topic { "1114112" } else { "1048576" };
        self.set_topic(topic, &[("compression.type", "producer"), ("max.message.bytes", largest)]).await;
    }

    /// Waits for this many records of the input topic, and gives all there are.
    pub(crate) async fn records(&self, at_least: usize) -> Vec<OwnedMessage> {
        self.read(&self.scope.input_topic, at_least).await
    }

    /// Waits for this many dead letters, and gives all there are.
    pub(crate) async fn dead_letters(&self, at_least: usize) -> Vec<OwnedMessage> {
        self.read(&self.scope.dlq_topic, at_least).await
    }

    async fn read(&self, topic: &str, at_least: usize) -> Vec<OwnedMessage> {
        let (brokers, topic) = (self.scope.endpoints.kafka_brokers.clone(), topic.to_owned());
        blocking(move || read_all(&brokers, &topic, at_least)).await
    }

    /// The offsets of the records that the input topic's first partition has.
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
                match consumer.poll(PATIENCE).unwrap() {
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

    /// What the group has committed, by partition; 0 where that is nothing.
    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        self.ends().await.into_iter().map(|(partition, (committed, _))| (partition, committed)).collect()
    }

    /// Where a partition's log ends, transactions that are open included.
    pub(crate) async fn log_end(&self, partition: i32) -> i64 {
        self.ends().await[&partition].1
    }

    async fn ends(&self) -> BTreeMap<i32, (i64, i64)> {
        let Scope { endpoints, input_topic, group, .. } = self.scope.clone();
        blocking(move || devstack::committed(&endpoints.kafka_brokers, &input_topic, &group).unwrap()).await
    }
}
