//! The handler of devices with parts that a test replaces.

use std::sync::Arc;

use shared::devices::DeviceDelivery;
use shared::kafka::StreamSpec;
use shared::runtime::json::Payload;
use shared::store::Tx;
use worker_service::consumer::event_lines::EventLines;
use worker_service::consumer::handler::Applied;
use worker_service::consumer::registry::{Dependencies, Registry};
use worker_service::devices::{Devices, EventsConfig};
use worker_service::source::HandlerSpec;

use crate::prelude::*;

/// The parts to replace; the defaults are the handler's own.
pub(crate) trait Alter: Send + Sync + 'static {
    /// The known types.
    const TYPES: &'static [&'static str] = Devices::SPEC.stream.types;

    fn decode(envelope: &Envelope) -> Result<Option<Event>, Refusal> {
        Devices::decode(envelope)
    }

    fn apply(
        &self,
        devices: &Devices,
        tx: &mut Tx<'_>,
        batch: &[&DeviceDelivery],
    ) -> impl Future<Output = Result<Applied, Failure>> + Send {
        devices.apply(tx, batch, &())
    }
}

pub(crate) struct Altered<A>(pub(crate) Devices, pub(crate) A);

impl<A: Alter> Handler for Altered<A> {
    type Event = Event;
    type Prepared = ();

    const SPEC: HandlerSpec =
        HandlerSpec { stream: StreamSpec { types: A::TYPES, ..Devices::SPEC.stream }, ..Devices::SPEC };
    const OUTCOMES: &'static [&'static str] = Devices::OUTCOMES;
    const LINES: EventLines = Devices::LINES;
    const BEGIN: &'static str = Devices::BEGIN;

    fn decode(envelope: &Envelope) -> Result<Option<Event>, Refusal> {
        A::decode(envelope)
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&DeviceDelivery], (): &()) -> Result<Applied, Failure> {
        self.1.apply(&self.0, tx, batch).await
    }

    fn probe_event(nobody: Arc<str>, payload: Payload) -> (&'static str, Event) {
        Devices::probe_event(nobody, payload)
    }
}

impl Kit {
    pub(crate) fn altered_worker(&self, alteration: impl Alter, parts: Parts) -> Worker {
        let mut registry = Registry::default();
        let altered = move |given: &Dependencies| {
            let events = given.settings.of::<EventsConfig>()?.clone();
            Ok(Altered(Devices { events }, alteration))
        };
        registry.handler(altered).cached(&shared::devices::RESOURCE);
        Worker::start_with(&run_config(&self.scope), registry, parts).unwrap()
    }
}
