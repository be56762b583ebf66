//! Keeps what is cached of videos and validations no older than their events. A command fences by itself after its
//! commit; this fences again, so that a process which died in between leaves no stale body for longer than the lag.

use std::sync::Arc;
use std::time::Duration;

use shared::cache::Fence;
use shared::kafka::{Delivery, Envelope, Refusal, Setting, Stream as _};
use shared::placements::received::{About, DomainEvent};
use shared::placements::{DomainStream, PlacementEventType};
use shared::runtime::json::Payload;
use shared::store::{Failure, Once, Tx, inbox};

use super::{APPLIED, Noted, OUTCOMES, REPEATED};
use crate::consumer::event_lines::EventLines;
use crate::consumer::handler::{Applied, Handler, Retention};
use crate::event_lines;
use crate::source::HandlerSpec;

const NAME: &str = "read-model";

/// Fences what is cached. It owns the stream: it is the cheapest of its handlers, so it always runs.
#[derive(Debug)]
pub struct ReadModel {
    retention: Duration,
}

impl ReadModel {
    pub fn new(retention: Duration) -> Self {
        Self { retention }
    }
}

/// The cached resource that an event changes, and its version after that. A validation's version is twice the number of
/// its event.
fn fence(event: &DomainEvent) -> Option<Fence> {
    match &event.about {
        About::Video(video) => Some((video.cache_key(), event.sequence)),
        About::Validation(validation, _) => Some((validation.cache_key(), event.sequence.saturating_mul(2))),
        About::Campaign(_) => None,
    }
}

impl Handler for ReadModel {
    type Event = DomainEvent;
    type Prepared = ();

    const SPEC: HandlerSpec = HandlerSpec {
        name: NAME,
        group: Setting::new(
            "KAFKA_READ_MODEL_GROUP",
            "kafka-read-model-group",
            "placement-read-model",
            "The consumer group that fences what is cached of placements",
        ),
        stream: DomainStream::SPEC,
        owner: true,
        types: &[
            PlacementEventType::PlacementCreated.as_str(),
            PlacementEventType::PlacementUpdated.as_str(),
            PlacementEventType::PlacementDeleted.as_str(),
            PlacementEventType::VideoCreated.as_str(),
            PlacementEventType::VideoUpdated.as_str(),
            PlacementEventType::ValidationRequested.as_str(),
            PlacementEventType::ValidationCompleted.as_str(),
            PlacementEventType::FilesGenerated.as_str(),
        ],
        once: Once::Inbox { subscriber: NAME },
    };
    const OUTCOMES: &'static [&'static str] = &OUTCOMES;
    const LINES: EventLines = event_lines!(aggregate);

    fn retention(&self) -> Option<Retention> {
        super::retention(self.retention)
    }

    /// Campaigns are cached by nobody here; but the owner of a stream parses every event.
    fn decode(envelope: &Envelope) -> Result<Option<DomainEvent>, Refusal> {
        let event = DomainEvent::decode(envelope)?;
        Ok(match event.about {
            About::Video(_) | About::Validation(..) => Some(event),
            About::Campaign(_) => None,
        })
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&Delivery<DomainEvent>], (): &()) -> Result<Applied, Failure> {
        let new = inbox::admit(tx, NAME, batch).await?;
        let mut noted = Noted::default();
        for (delivery, new) in batch.iter().zip(new) {
            noted.add(if new { APPLIED } else { REPEATED }, true, None, fence(&delivery.event));
        }
        Ok(noted.done())
    }

    fn probe_event(nobody: Arc<str>, payload: Payload) -> (&'static str, DomainEvent) {
        DomainEvent::of_nobody(PlacementEventType::PlacementUpdated, nobody, payload)
    }
}
