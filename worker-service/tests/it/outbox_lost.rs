//! A transaction of the relay that Kafka has lost: it is open in the log, and no coordinator knows it.

use devstack::wire::{Producer, init_producer, produce_hanging};
use devstack::{Kafka, stable_ends};
use rdkafka::message::Headers as _;
use shared::store::outbox::relay::{OutboxRow, read};
use worker_service::consumer::seek::Restored;
use worker_service::outbox::producer::transactional_id;
use worker_service::outbox::record::record;

use crate::prelude::*;

const AGGREGATES: [&str; 7] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6"];
const STANDS: &str = "stands before another producer's open transaction";
const ABORTS: &str = "the relay aborts a transaction that Kafka has lost: its events are published again";

/// A Kafka that appends to transactions that their coordinators do not know.
async fn kafka() -> Kafka {
    kafka_with(&[("transaction.partition.verification.enable", "false")]).await
}

/// An outbox with a topic of two partitions.
struct Outbox {
    kit: Kit,
    /// By aggregate.
    partitions: BTreeMap<&'static str, i32>,
}

impl Outbox {
    /// The topic has one event of each aggregate, and two more wait.
    async fn on(kafka: &Kafka, name: &str) -> Self {
        let mut scope = scope(name).await;
        scope.endpoints.kafka_brokers = kafka.brokers().to_owned();
        let kit = Kit::on(scope, 2).await;
        let relay = kit.relaying();
        write(&kit, 1).await;
        let records = kit.all_published(AGGREGATES.len()).await;
        relay.end().await;
        let partition = |aggregate: &str| {
            records.iter().find(|record| record.key() == Some(aggregate.as_bytes())).unwrap().partition()
        };
        let partitions: BTreeMap<_, _> = AGGREGATES.map(|aggregate| (aggregate, partition(aggregate))).into();
        assert!([0, 1].iter().all(|number| partitions.values().any(|partition| partition == number)));
        write(&kit, 2).await;
        Self { kit, partitions }
    }

    async fn rows(&self) -> Vec<OutboxRow> {
        let rows = read(&self.kit.store, 0, 100, 1 << 20).await.unwrap();
        assert_eq!(rows.len(), 2 * AGGREGATES.len());
        rows
    }

    /// The relay's producer, in a new epoch.
    async fn own(&self) -> Producer {
        let identity: String =
            sqlx::query_scalar("SELECT identity::text FROM outbox_relay").fetch_one(&self.kit.pool).await.unwrap();
        self.producer(transactional_id(&identity, &self.kit.scope.input_topic)).await
    }

    async fn producer(&self, id: String) -> Producer {
        let brokers = &self.kit.scope.endpoints.kafka_brokers;
        let init = async || {
            let (brokers, id) = (brokers.clone(), id.clone());
            blocking(move || init_producer(&brokers, &id)).await
        };
        found("its coordinator begins an epoch", init).await
    }

    /// Writes the records of these rows, each on its aggregate's partition, in a transaction that no coordinator knows.
    async fn lose(&self, producer: &Producer, rows: &[OutboxRow]) {
        for number in [0, 1] {
            let here = |row: &&OutboxRow| self.partitions[row.aggregate.as_str()] == number;
            let records: Vec<_> = rows.iter().filter(here).map(wire_record).collect();
            self.hang(producer, number, records).await;
        }
    }

    async fn hang(&self, producer: &Producer, partition: i32, records: Vec<WireRecord>) {
        let Scope { endpoints, input_topic, .. } = self.kit.scope.clone();
        let producer = producer.clone();
        blocking(move || produce_hanging(&endpoints.kafka_brokers, &input_topic, partition, &records, &producer))
            .await
            .unwrap();
        assert!(!self.is_stable(partition).await);
    }

    async fn is_stable(&self, partition: i32) -> bool {
        let Scope { endpoints, input_topic, .. } = self.kit.scope.clone();
        let ends = blocking(move || stable_ends(&endpoints.kafka_brokers, &input_topic).unwrap()).await;
        ends[&partition] == self.kit.log_end(partition).await
    }

    /// What `seek` does after PostgreSQL was restored.
    async fn compare(&self) -> anyhow::Result<()> {
        let (client, source) = (client(&self.kit.scope), self.kit.published());
        for hook in worker_service::domains::registry().after_restore {
            hook(&Restored { client: &client, store: &self.kit.store, source: &source }).await?;
        }
        Ok(())
    }

    /// Checks that `seek` ends nothing, and says so.
    async fn stands(&self, partition: i32) {
        let refused = format!("{:#}", self.compare().await.unwrap_err());
        assert!(refused.contains(STANDS) && refused.contains(&format!(" [{partition}] ")), "{refused}");
        assert!(!self.is_stable(partition).await);
        assert_eq!(self.kit.count("SELECT count(*) FROM outbox_relay WHERE holder IS NULL").await, 1);
    }

    /// The partitions in which the relay has ended a transaction, as the log says.
    fn ended(&self) -> Vec<(i64, i64)> {
        let lines = told(&own_log(), ABORTS);
        let of_topic = lines.iter().filter(|line| line["topic"] == self.kit.scope.input_topic.as_str());
        of_topic.map(|line| (line["partition"].as_i64().unwrap(), line["events"].as_i64().unwrap())).collect()
    }
}

async fn write(kit: &Kit, events: i64) {
    for aggregate in AGGREGATES {
        kit.write_events(aggregate, events).await;
    }
}

/// The record as the relay writes it.
fn wire_record(row: &OutboxRow) -> WireRecord {
    let record = record("", row);
    let headers = record.headers.as_ref().unwrap().iter();
    WireRecord {
        key: record.key.map(Into::into),
        value: record.payload.map(Into::into),
        headers: headers.map(|it| (it.key.into(), it.value.map(<[u8]>::to_vec))).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_aborts_its_transaction_that_kafka_has_lost_and_publishes_it_again() {
    let kafka = kafka().await;
    let outbox = Outbox::on(&kafka, "lost").await;
    outbox.lose(&outbox.own().await, &outbox.rows().await).await;
    let relay = outbox.kit.relaying();
    outbox.kit.all_published(3 * AGGREGATES.len()).await;
    assert_eq!(outbox.ended(), [(0, 14), (1, 14)]);
    write(&outbox.kit, 1).await;
    outbox.kit.all_published(4 * AGGREGATES.len()).await;
    relay.end().await;
    assert!(outbox.is_stable(0).await && outbox.is_stable(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_aborts_it_too() {
    let kafka = kafka().await;
    let outbox = Outbox::on(&kafka, "lost_seek").await;
    outbox.lose(&outbox.own().await, &outbox.rows().await).await;
    outbox.compare().await.unwrap();
    assert_eq!(outbox.ended(), [(0, 14), (1, 14)]);
    assert!(outbox.is_stable(0).await && outbox.is_stable(1).await);
    assert_eq!(outbox.rows().await.len(), 14, "they are published again");
    let relay = outbox.kit.relaying();
    outbox.kit.all_published(3 * AGGREGATES.len()).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_may_have_been_committed_or_is_not_the_relays_is_not_ended() {
    let kafka = kafka().await;
    let published = async {
        let outbox = Outbox::on(&kafka, "lost_published").await;
        outbox.lose(&outbox.own().await, &outbox.rows().await).await;
        let end = outbox.kit.log_end(0).await;
        outbox.kit.sql("DELETE FROM outbox WHERE id = (SELECT max(id) FROM outbox)").await;
        outbox.stands(0).await;
        assert_eq!((outbox.kit.log_end(0).await, outbox.ended()), (end, vec![]));
    };
    let other_record = async {
        let outbox = Outbox::on(&kafka, "lost_other_record").await;
        let mut records: Vec<_> = outbox.rows().await.iter().map(wire_record).collect();
        records.push(wire_event("d", "1"));
        outbox.hang(&outbox.own().await, 1, records).await;
        let end = outbox.kit.log_end(1).await;
        outbox.stands(1).await;
        assert_eq!((outbox.kit.log_end(1).await, outbox.ended()), (end, vec![]));
    };
    // Only its producer is another one. That is tried, without effect, and once: the record of the try is no event.
    let other_producer = async {
        let outbox = Outbox::on(&kafka, "lost_other_producer").await;
        let foreign = outbox.producer(format!("{}-foreign", outbox.kit.scope.group)).await;
        outbox.lose(&foreign, &outbox.rows().await).await;
        let end = outbox.kit.log_end(0).await;
        for _ in 0..2 {
            outbox.stands(0).await;
            // With the marker.
            assert_eq!((outbox.kit.log_end(0).await, outbox.ended()), (end + 2, vec![(0, 14), (1, 14)]));
        }
    };
    tokio::join!(published, other_record, other_producer);
}
