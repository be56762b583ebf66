//! The handler of devices.

use bytes::Bytes;
use proptest::prelude::*;
use shared::devices::{DeviceDelivery, EventType};
use shared::kafka::position::Position;
use shared::runtime::json::Payload;
use worker_service::devices::{Devices, EventsConfig};

use super::handler_laws;
use crate::prelude::*;

handler_laws!(handler(), logs(), |event| vec![event.event.device_id.cache_key()]);

pub(super) fn handler() -> Devices {
    Devices { events: EventsConfig { events_retention: Duration::MAX } }
}

/// Three devices, each event up to several times, sometimes with another payload, and some redriven.
pub(super) fn logs() -> impl Strategy<Value = Vec<DeviceDelivery>> {
    let record = (0..NAMES.len(), 0..12u8, 0..2u8, prop::option::weighted(0.2, 0..40i64), 0..2i32);
    let delivery = |(offset, (device, id, payload, origin, partition))| match origin {
        None => event(device, id, payload, at(0, offset)),
        Some(first) => event(device, id, payload, Position { redriven: true, ..at(partition, first) }),
    };
    prop::collection::vec(record, 2..40).prop_map(move |records| (0..).zip(records).map(delivery).collect())
}

const NAMES: [&str; 3] = ["d0", "site-7/line 1", r#"{a}"\"#];

fn event(device: usize, id: u8, payload: u8, position: Position) -> DeviceDelivery {
    let device_id = NAMES[device].parse().unwrap();
    let payload = Payload::check(Bytes::from(format!(r#"{{"n":{payload}}}"#)), "").unwrap();
    let event = Event { device_id, event_type: EventType::DeviceReported, payload };
    let envelope = event.envelope(format!("e{id}").parse().unwrap(), position.appended_at);
    Delivery { envelope, position, event }
}

/// A position in the log; each offset is a second later.
fn at(partition: i32, offset: i64) -> Position {
    let appended_at = OffsetDateTime::from_unix_timestamp(1_700_000_000 + offset).unwrap();
    Position::new("t", partition, offset, appended_at)
}
