//! Devices: the events that a device may report, and the state that is stored. The rules do no I/O; [`queries`] has the
//! SQL.

pub mod published;
pub mod queries;
pub mod submission;

use std::sync::Arc;

use futures_util::FutureExt as _;
use time::OffsetDateTime;

use crate::cache::{CacheKey, Kind};
use crate::kafka::ids::{EventId, Key, id, percent_encoded, subject};
use crate::kafka::{self, Delivery, Envelope, Record, Refusal, Setting, Stream, StreamSpec, TopicsOf, event_types};
use crate::runtime::json::Payload;

id!(
    /// The id of a device, and of the resource with its latest state: 1 to 128 printable ASCII characters, no blank at
    /// either end, and no segment `.` or `..` between slashes.
    pub DeviceId,
    128,
    subject
);

/// The cache kind for resources, the latest states of devices.
pub static RESOURCE: Kind = Kind { prefix: "resource:", load: |store, ids| queries::load(store, ids).boxed() };

impl DeviceId {
    /// The cache key of its resource.
    pub fn cache_key(&self) -> CacheKey {
        CacheKey::new(&RESOURCE, Arc::clone(&self.0))
    }

    /// The key of its records.
    pub fn key(&self) -> Key {
        Key::from(Arc::clone(&self.0))
    }
}

event_types!(
    /// The type of a device's event; CloudEvents `type`.
    pub EventType {
        /// A device reported its state.
        DeviceReported = "io.edge.device.reported.v1",
    }
);

/// The stream of the devices' events.
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
        extensions: &[],
        transactional: false,
    };
}

/// The settings with the names of its topics.
pub type DeviceTopics = TopicsOf<DeviceStream>;

/// An event of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The device that reported it; CloudEvents `subject`, and the record's key.
    pub device_id: DeviceId,
    /// The event's type.
    pub event_type: EventType,
    /// The reported state; CloudEvents `data`.
    pub payload: Payload,
}

impl Event {
    /// Decodes a device's event from an envelope. The error is the first fault.
    pub fn decode(envelope: &Envelope) -> Result<Self, Refusal> {
        let event_type = envelope.type_as()?;
        Ok(Self { device_id: envelope.keyed_subject_as()?, event_type, payload: envelope.payload()? })
    }

    /// A probe's event of a device that cannot exist, with its type.
    pub fn of_nobody(nobody: Arc<str>, payload: Payload) -> (&'static str, Self) {
        let event_type = EventType::DeviceReported;
        (event_type.as_str(), Self { device_id: DeviceId(nobody), event_type, payload })
    }

    /// Its envelope, with only the required attributes.
    pub fn envelope(&self, id: EventId, accepted_at: OffsetDateTime) -> Envelope {
        let data = self.payload.as_bytes().clone();
        Envelope::new(self.event_type.as_str(), self.device_id.key(), id, accepted_at, data)
    }

    /// CloudEvents `source` of a device's events: a URI reference.
    pub fn source(device_id: &DeviceId) -> String {
        const DEVICES: &str = "/devices/";
        let mut source = String::with_capacity(DEVICES.len() + device_id.as_str().len());
        source.push_str(DEVICES);
        source.extend(percent_encoded(device_id.as_str()));
        source
    }
}

/// An event of a device, with its envelope and its position in the log.
pub type DeviceDelivery = Delivery<Event>;

/// Decodes a device's event from a record. The error is the first fault, or that this version does not know the type.
pub fn decode(record: &Record) -> Result<DeviceDelivery, Refusal> {
    let (envelope, position) = kafka::decode(record, &DeviceStream::SPEC)?;
    let event = Event::decode(&envelope)?;
    Ok(Delivery { envelope, position, event })
}
