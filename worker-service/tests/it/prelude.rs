//! Imports that most of these tests need.

pub(crate) use std::collections::BTreeMap;
pub(crate) use std::time::{Duration, Instant};

pub(crate) use devstack::kit::*;
pub(crate) use devstack::wire::{Packing, WireRecord};
pub(crate) use devstack::{Proxy, Scope};
pub(crate) use futures_util::future::join_all;
pub(crate) use rdkafka::Message as _;
pub(crate) use rdkafka::admin::AdminOptions;
pub(crate) use rdkafka::consumer::{BaseConsumer, Consumer as _};
pub(crate) use rdkafka::message::BorrowedMessage;
pub(crate) use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
pub(crate) use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
pub(crate) use redis::AsyncCommands;
pub(crate) use serde_json::{Value, json};
pub(crate) use shared::devices::{Event, queries};
pub(crate) use shared::kafka::topics::settings::TopicSettings;
pub(crate) use shared::kafka::{Delivery, Envelope, Record, Refusal};
pub(crate) use shared::store::Failure;
pub(crate) use time::OffsetDateTime;
pub(crate) use worker_service::consumer::handler::Handler;
pub(crate) use worker_service::worker::{Parts, Worker};

pub(crate) use crate::kit::*;
