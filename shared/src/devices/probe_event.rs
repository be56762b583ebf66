//! An event that nobody sent: it is written and taken back, to find out whether others would be written.

use bytes::Bytes;
use time::OffsetDateTime;

use super::{DeviceDelivery, DeviceId, Event, EventType};
use crate::kafka::Delivery;
use crate::kafka::ids::EventId;
use crate::kafka::position::Position;
use crate::runtime::json::{MAX_PAYLOAD_BYTES, Payload};
use crate::store::Failure;

/// Around the text, to make it JSON.
const AROUND: usize = r#"{"probe":""}"#.len();

/// An event that nobody sent, with a payload of about this size, of a device that cannot exist. Each is of another one, so
/// no two transactions with such events wait for each other.
///
/// # Errors
/// [`Failure`]: a defect.
pub fn probe_event(payload_bytes: usize) -> Result<DeviceDelivery, Failure> {
    let length = payload_bytes.min(MAX_PAYLOAD_BYTES).saturating_sub(AROUND);
    // By chance: what can be compressed takes less of everything than an event does.
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(length).collect();
    let payload = Payload::check(Bytes::from(format!(r#"{{"probe":"{text}"}}"#)), "")
        .map_err(|faults| Failure::failed(format!("the probe's payload is none: {faults:?}")))?;
    let now = OffsetDateTime::now_utc();
    let id = EventId::generate();
    let device_id = DeviceId::of_nobody(&id);
    let event = Event { device_id, event_type: EventType::DeviceReported, payload };
    let envelope = event.envelope(id, now);
    let position = Position::new("", 0, 0, now);
    Ok(Delivery { envelope, position, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_large_as_asked_and_of_a_device_that_nobody_can_name() {
        for bytes in [0, 1, 12, 13, 100, 255 * 1024, MAX_PAYLOAD_BYTES, usize::MAX] {
            let Event { device_id, payload, .. } = probe_event(bytes).unwrap().event;
            assert_eq!(payload.as_str().len(), bytes.clamp(AROUND, MAX_PAYLOAD_BYTES));
            assert!(device_id.as_str().parse::<DeviceId>().is_err(), "{device_id}");
        }
        assert_ne!(probe_event(0).unwrap().event.device_id, probe_event(0).unwrap().event.device_id);
    }
}
