//! Devices: what one may report, and what is kept of it. The rules are pure; [`queries`] has the SQL.

pub mod queries;
pub mod submission;

use std::sync::Arc;

use futures_util::FutureExt as _;
use time::OffsetDateTime;

use crate::cache::{CacheKey, Kind};
use crate::kafka::ids::{EventId, Key, id};
use crate::kafka::{self, Delivery, Envelope, Record, Refusal, Setting, Stream, StreamSpec, TopicsOf, event_types};
use crate::runtime::json::Payload;

id!(
    /// A device, and the resource that is its latest state: 1 to 128 of `A-Z a-z 0-9 . _ : -`.
    pub DeviceId,
    128
);

/// Resources as they are cached: the latest state of a device.
pub static RESOURCE: Kind = Kind { prefix: "resource:", load: |store, ids| queries::load(store, ids).boxed() };

impl DeviceId {
    /// Where its resource is cached.
    pub fn cache_key(&self) -> CacheKey {
        CacheKey::new(&RESOURCE, Arc::clone(&self.0))
    }

    /// The key of its records.
    pub fn key(&self) -> Key {
        Key::from(Arc::clone(&self.0))
    }
}

event_types!(
    /// The kind of an event of a device; CloudEvents `type`.
    pub EventType {
        /// A device reported its state.
        DeviceReported = "io.edge.device.reported.v1",
    }
);

/// The stream of what devices report.
#[derive(Debug, Clone, Copy)]
pub struct DeviceStream;

impl Stream for DeviceStream {
    const SPEC: StreamSpec = StreamSpec {
        name: "devices",
        topic: Setting::new("KAFKA_INPUT_TOPIC", "kafka-input-topic", "events-input", "The topic of accepted events"),
        dead_letters: Setting::new(
            "KAFKA_DLQ_TOPIC",
            "kafka-dlq-topic",
            "events-dlq",
            "The topic of dead letters; must differ from the input topic",
        ),
        types: EventType::ALL,
    };
}

/// The names of its topics, as settings.
pub type DeviceTopics = TopicsOf<DeviceStream>;

/// An event of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The device that reported it; CloudEvents `subject`, and the record's key.
    pub device_id: DeviceId,
    /// What kind of event it is.
    pub event_type: EventType,
    /// What was reported; CloudEvents `data`.
    pub payload: Payload,
}

impl Event {
    /// Finds the event of a device in what a record holds; if it is none, the first reason.
    pub fn decode(envelope: &Envelope) -> Result<Self, Refusal> {
        let event_type = envelope.type_as()?;
        Ok(Self { device_id: envelope.keyed_subject_as()?, event_type, payload: envelope.payload()? })
    }

    /// The one of a device that cannot exist, with its type: a probe's.
    pub fn of_nobody(nobody: Arc<str>, payload: Payload) -> (&'static str, Self) {
        let event_type = EventType::DeviceReported;
        (event_type.as_str(), Self { device_id: DeviceId(nobody), event_type, payload })
    }

    /// What is said beside it, where no more is known than its id and when it was accepted.
    pub fn envelope(&self, id: EventId, accepted_at: OffsetDateTime) -> Envelope {
        let data = self.payload.as_bytes().clone();
        Envelope::new(self.event_type.as_str(), self.device_id.key(), id, accepted_at, data)
    }

    /// CloudEvents `source` of what a device reports.
    pub fn source(device_id: &DeviceId) -> String {
        ["/devices/", device_id.as_str()].concat()
    }
}

/// An event of a device, and where it stands in the log.
pub type DeviceDelivery = Delivery<Event>;

/// Finds the event of a device in a record; if it is none, or one of a type that this version does not know, the first
/// reason.
pub fn decode(record: &Record) -> Result<DeviceDelivery, Refusal> {
    let (envelope, position) = kafka::decode(record, EventType::ALL)?;
    let event = Event::decode(&envelope)?;
    Ok(Delivery { envelope, position, event })
}
