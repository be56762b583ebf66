use std::fmt::Display;

use rdkafka::producer::BaseRecord;
use serde_json::json;

use super::owned_headers;
use crate::wire::WireRecord;

/// An event of a device, to be sent to the API as JSON or to Kafka as a record.
#[derive(Debug, Clone)]
pub struct Event {
    device: String,
    id: Option<String>,
    payload: String,
}

/// An event with an empty payload and without an id.
pub fn event(device: impl Display) -> Event {
    Event { device: device.to_string(), id: None, payload: "{}".to_owned() }
}

impl Event {
    pub fn id(self, id: impl Display) -> Event {
        Event { id: Some(id.to_string()), ..self }
    }

    /// Sets the payload, as JSON text.
    pub fn payload(self, json: impl Display) -> Event {
        Event { payload: json.to_string(), ..self }
    }

    /// The body for the API; an invalid payload stays invalid.
    pub fn json(&self) -> String {
        let Event { device, id, payload } = self;
        let id = id.as_ref().map(|id| format!(r#""event_id":{},"#, json!(id))).unwrap_or_default();
        format!(r#"{{"device_id":{},{id}"payload":{payload}}}"#, json!(device))
    }

    /// The headers that the worker expects on a record.
    pub fn headers(&self) -> [(&str, &str); 5] {
        [
            ("ce_specversion", "1.0"),
            ("ce_type", "io.edge.device.reported.v1"),
            ("ce_id", self.id.as_deref().unwrap_or_default()),
            ("ce_subject", &self.device),
            ("content-type", "application/json"),
        ]
    }

    /// The record as the API writes it to a topic.
    pub fn record<'a>(&'a self, topic: &'a str) -> BaseRecord<'a, str, str> {
        BaseRecord::to(topic)
            .key(self.device.as_str())
            .payload(self.payload.as_str())
            .headers(owned_headers(&self.headers()))
    }

    /// The same as a raw record.
    pub fn wire_record(&self) -> WireRecord {
        let headers = self.headers().map(|(name, value)| (name.into(), Some(value.into())));
        let (key, value) = (Some(self.device.clone().into()), Some(self.payload.clone().into()));
        WireRecord { key, value, headers: headers.into() }
    }
}
