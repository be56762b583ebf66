//! Another producer, which writes in transactions.

use rdkafka::producer::{BaseProducer, Producer as _};
use tokio::task::block_in_place;

use crate::prelude::*;

/// A producer with a transactional id. Its calls block, and its records are in the log when they return.
pub(crate) struct Transactional {
    producer: BaseProducer,
    topic: String,
}

impl Kit {
    /// A producer with its own id, for the input topic.
    pub(crate) fn transactional(&self, name: &str) -> Transactional {
        self.transactional_on(&self.scope.input_topic, name)
    }

    pub(crate) fn transactional_on(&self, topic: &str, name: &str) -> Transactional {
        let id = format!("{}-{name}", self.scope.group);
        let config = client(&self.scope).set("transactional.id", id).set("transaction.timeout.ms", "300000").clone();
        let producer: BaseProducer = config.create().unwrap();
        block_in_place(|| producer.init_transactions(TEST_TIMEOUT)).unwrap();
        Transactional { producer, topic: topic.to_owned() }
    }

    /// Lowers the group's committed offset on the broker. While the group has members, only a transaction can do that.
    pub(crate) fn commit_by_transaction(&self, partition: i32, offset: i64) {
        let Transactional { producer, topic } = self.transactional("offsets");
        let group: BaseConsumer = client(&self.scope).set("group.id", &self.scope.group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&topic, partition, Offset::Offset(offset)).unwrap();
        block_in_place(|| {
            producer.begin_transaction().unwrap();
            producer.send_offsets_to_transaction(&offsets, &group.group_metadata().unwrap(), TEST_TIMEOUT).unwrap();
            producer.commit_transaction(TEST_TIMEOUT).unwrap();
        });
    }
}

impl Transactional {
    /// Opens a transaction with these events of a device on the first partition.
    pub(crate) fn open(&self, device: &str, ids: &[&str]) {
        self.producer.begin_transaction().unwrap();
        for &id in ids {
            self.producer.send(event(device).id(id).record(&self.topic).partition(0)).unwrap();
        }
        block_in_place(|| self.producer.flush(TEST_TIMEOUT)).unwrap();
    }

    pub(crate) fn commit(&self) {
        block_in_place(|| self.producer.commit_transaction(TEST_TIMEOUT)).unwrap();
    }

    pub(crate) fn abort(&self) {
        block_in_place(|| self.producer.abort_transaction(TEST_TIMEOUT)).unwrap();
    }
}
