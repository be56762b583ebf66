//! Events of a given size, a topic with a given limit, and the positions of events in the log.

use std::collections::HashMap;

use bytes::Bytes;
use devstack::Scope;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use shared::devices::{Event, EventType};
use shared::kafka::Outgoing;
use shared::kafka::topics::setup;
use shared::runtime::json::Payload;
use time::OffsetDateTime;

use crate::prelude::*;

/// An upper bound of the size of a record's headers and of the frame around a batch.
pub(crate) const AROUND: usize = 600;
pub(crate) const MAX_PAYLOAD: usize = 256 * 1024;
/// Timeouts for busy machines.
pub(crate) const PATIENT: [&str; 4] = [
    "--kafka-message-timeout=30s",
    "--request-timeout=60s",
    "--max-bytes-in-flight=1073741824",
    "--kafka-queue-bytes=268435456",
];

#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) device: String,
    pub(crate) id: String,
    payload: String,
}

impl Sent {
    /// With a payload of this size. Unless it is to be compressible, lz4 cannot compress it.
    pub(crate) fn new(
        random: &mut fastrand::Rng,
        device: String,
        id: String,
        bytes: usize,
        compressible: bool,
    ) -> Self {
        let frame = r#"{"x":""}"#.len();
        let length = bytes.max(frame) - frame;
        let text = match compressible {
            true => "x".repeat(length),
            false => std::iter::repeat_with(|| random.alphanumeric()).take(length).collect(),
        };
        Self { device, id, payload: format!(r#"{{"x":"{text}"}}"#) }
    }

    pub(crate) fn json(&self) -> String {
        devstack::kit::event(&self.device).id(&self.id).payload(&self.payload).json()
    }

    fn cloud_event(&self) -> String {
        format!(
            r#"{{"specversion":"1.0","type":"io.edge.device.reported.v1","source":"/s","id":"{}","subject":"{}","data":{}}}"#,
            self.id, self.device, self.payload
        )
    }

    pub(crate) fn event(&self) -> Outgoing {
        let payload = Payload::check(Bytes::from(self.payload.clone()), "").unwrap();
        let event = Event { device_id: self.device.parse().unwrap(), event_type: EventType::DeviceReported, payload };
        let envelope = event.envelope(self.id.parse().unwrap(), OffsetDateTime::now_utc());
        Outgoing { envelope, source: Event::source(&event.device_id) }
    }
}

pub(crate) fn array(events: &[Sent]) -> String {
    format!("[{}]", events.iter().map(Sent::json).collect::<Vec<_>>().join(","))
}

/// The formats of a single event.
pub(crate) const SINGLES: [&str; 3] = ["application/json", "application/cloudevents+json", "binary"];
pub(crate) const BATCHES: [&str; 4] =
    ["application/json", "application/x-ndjson", "application/jsonl", "application/cloudevents-batch+json"];

pub(crate) async fn post_single(app: &TestApp, event: &Sent, format: &str) -> Response {
    let request = app.request("POST", "/events").bearer_auth(admin());
    let request = match format {
        "application/json" => request.header("content-type", format).body(event.json()),
        "application/cloudevents+json" => request.header("content-type", format).body(event.cloud_event()),
        "binary" => {
            let attributes = [
                ("ce-specversion", "1.0"),
                ("ce-type", "io.edge.device.reported.v1"),
                ("ce-source", "/s"),
                ("ce-id", &event.id),
                ("ce-subject", &event.device),
            ];
            let request = request.header("content-type", "application/json").body(event.payload.clone());
            attributes.into_iter().fold(request, |request, (name, value)| request.header(name, value))
        }
        other => panic!("{other}"),
    };
    request.send().await.unwrap()
}

pub(crate) async fn post_batch(app: &TestApp, events: &[Sent], format: &str) -> Response {
    let each = |event: fn(&Sent) -> String| events.iter().map(event).collect::<Vec<_>>();
    let body = match format {
        "application/json" => array(events),
        "application/x-ndjson" | "application/jsonl" => each(Sent::json).join("\n"),
        "application/cloudevents-batch+json" => format!("[{}]", each(Sent::cloud_event).join(",")),
        other => panic!("{other}"),
    };
    batch(app, &admin(), format, body).send().await.unwrap()
}

/// Sets the limit of the input topic, and waits until the broker uses it. A batch counts as the broker stores it.
pub(crate) async fn limit_of(scope: &Scope, bytes: usize, compression: &str) {
    let client = shared::kafka::client(&config(scope, &[]).backbone.kafka).unwrap();
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&scope.input_topic));
    let bytes_as_text = bytes.to_string();
    let change = change.set("message.timestamp.type", "LogAppendTime").set("max.message.bytes", &bytes_as_text);
    let change = change.set("compression.type", compression);
    admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let limit = async || setup::write_limits(&client, &scope.input_topic).await.unwrap().max_message_bytes;
    devstack::kit::until("the topic has its limit", async || limit().await == bytes).await;
}

pub(crate) async fn limited(name: &str, bytes: usize) -> Scope {
    let scope = prepared(name).await;
    limit_of(&scope, bytes, "uncompressed").await;
    scope
}

/// The first position of each event in the log: its partition and offset.
pub(crate) async fn places(app: &TestApp, count: usize) -> HashMap<(String, String), (i32, i64)> {
    let mut places = HashMap::new();
    for record in records(app, count).await {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (device, id) = (text(record.key().unwrap()), text(record.header("ce_id").unwrap()));
        let place = places.entry((device, id)).or_insert((i32::MAX, i64::MAX));
        *place = (*place).min((record.partition, record.offset));
    }
    places
}

/// Checks that each event of a request is in the log, and that those of one device are in the request's order.
pub(crate) fn in_order(places: &HashMap<(String, String), (i32, i64)>, request: &[Sent]) {
    let mut last: HashMap<&str, (i32, i64)> = HashMap::new();
    for Sent { device, id, .. } in request {
        let place = *places.get(&(device.clone(), id.clone())).unwrap_or_else(|| panic!("{device}/{id} is not there"));
        if let Some(before) = last.insert(device, place) {
            assert!(before < place, "{device}/{id} at {place:?} has overtaken the one before it, at {before:?}");
        }
    }
}
