//! The event of a probe: it is written and rolled back, to test whether events can be written.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{Delivery, Envelope};
use crate::kafka::ids::{EventId, Key};
use crate::kafka::position::Position;
use crate::runtime::json::Payload;

impl<E> Delivery<E> {
    /// A synthetic event with a payload of about this size; `event` creates it, with its type. Its subject cannot
    /// exist, because none begins with a blank. Each probe event has another subject, so two such transactions never
    /// wait for each other.
    pub fn probe_event(payload_bytes: usize, event: impl FnOnce(Arc<str>, Payload) -> (&'static str, E)) -> Self {
        let (id, now) = (EventId::generate(), OffsetDateTime::now_utc());
        let nobody: Arc<str> = format!(" {id}").into();
        let payload = Payload::of_probe(payload_bytes);
        let data = payload.as_bytes().clone();
        let (event_type, event) = event(Arc::clone(&nobody), payload);
        let envelope = Envelope::new(event_type, Key::from(nobody), id, now, data);
        Self { envelope, position: Position::new("", 0, 0, now), event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ids::is_subject;
    use crate::runtime::json::MAX_PAYLOAD_BYTES;

    #[test]
    fn it_is_as_large_as_asked_and_about_what_nobody_can_name() {
        let probe_event = |bytes| Delivery::probe_event(bytes, |nobody, payload| ("t", (nobody, payload)));
        for bytes in [0, 1, 12, 13, 100, 255 * 1024, MAX_PAYLOAD_BYTES, usize::MAX] {
            let Delivery { envelope, event: (nobody, payload), .. } = probe_event(bytes);
            let least = r#"{"probe":""}"#.len();
            assert_eq!(payload.as_str().len(), bytes.clamp(least, MAX_PAYLOAD_BYTES));
            assert_eq!(Payload::check(payload.as_bytes().clone(), ""), Ok(payload));
            assert!(!is_subject(&nobody), "{nobody}");
            assert_eq!((envelope.key.as_str(), envelope.subject.as_str()), (&*nobody, &*nobody));
        }
        assert_ne!(probe_event(0).event.0, probe_event(0).event.0);
    }
}
