//! What most of these tests use.

pub(crate) use std::collections::BTreeMap;
pub(crate) use std::time::{Duration, Instant};

pub(crate) use devstack::kit::{blocking, json_lines, until};
pub(crate) use devstack::wire::{Packing, WireRecord, produce_as};
pub(crate) use devstack::{Proxy, Scope};
pub(crate) use rdkafka::Message as _;
pub(crate) use rdkafka::admin::AdminOptions;
pub(crate) use rdkafka::consumer::{BaseConsumer, Consumer as _};
pub(crate) use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
pub(crate) use redis::AsyncCommands;
pub(crate) use serde_json::{Value, json};
pub(crate) use shared::devices::{Event, queries};
pub(crate) use shared::kafka::topics::settings::TopicSettings;
pub(crate) use shared::kafka::{Delivery, Envelope, Refusal};
pub(crate) use shared::store::Failure;
pub(crate) use worker_service::consumer::handler::Handler;
pub(crate) use worker_service::worker::{Parts, Worker};

pub(crate) use crate::kit::{
    InProcess, Kit, PATIENCE, Process, client, header, nobody, of_group, partition, run_config, wire_event,
};
