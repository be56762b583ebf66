//! `POST /events`, `POST /events/batch`: the events of devices.

use shared::devices::submission::{self, Submission};
use shared::devices::{Event, EventType};
use shared::kafka::ids::EventId;
use shared::kafka::{Envelope, Outgoing};
use shared::runtime::json::BodyError;
use time::OffsetDateTime;

use super::DEVICE;
use super::rights::{Rights, WRITERS, allow};
use crate::auth::Caller;
use crate::http::problem::Problem;
use crate::http::subject::SubjectKind;
use crate::ingest::{Admission, Ingest, Item};

/// Accepts the events of devices.
pub(super) struct Devices {
    pub rights: Rights,
}

/// An event of a device for which the token may send.
pub(super) struct Allowed {
    event: Event,
    id: EventId,
    occurred_at: Option<OffsetDateTime>,
}

impl Ingest for Devices {
    type Submission = Submission;
    type Admitted = Allowed;
    type Answer = ();

    const SUBJECT: &'static SubjectKind = &DEVICE;

    fn authorize(&self, caller: &Caller) -> Result<(), Problem> {
        self.rights.admit(caller, WRITERS)
    }

    fn parse(&self, item: Item<'_>) -> Result<Submission, BodyError> {
        match item {
            Item::Plain(body, value) => submission::parse_value(body, value),
            item => item.cloud_event().map(Submission::from),
        }
    }

    async fn admit(&self, caller: &Caller, events: Vec<Submission>) -> Vec<Admission<Allowed>> {
        let admit = |event: Submission| {
            let Submission { device_id, event_type, event_id, occurred_at, payload } = event;
            match allow(caller, WRITERS, &device_id, event_id.as_ref()) {
                Ok(()) => {
                    let event = Event { device_id, event_type, payload };
                    let id = event_id.unwrap_or_else(EventId::generate);
                    Admission::Send(Allowed { event, id, occurred_at })
                }
                Err(problem) => Admission::Refuse(problem),
            }
        };
        events.into_iter().map(admit).collect()
    }

    fn answer(&self, _: &Allowed, _: OffsetDateTime) {}

    fn record(&self, Allowed { event, id, occurred_at }: &Allowed, accepted_at: OffsetDateTime) -> Outgoing {
        let occurred_at = occurred_at.unwrap_or(accepted_at);
        let envelope = Envelope { occurred_at, ..event.envelope(id.clone(), accepted_at) };
        let source = match event.event_type {
            EventType::DeviceReported => Event::source(&event.device_id),
        };
        Outgoing { envelope, source }
    }
}
