//! A worker whose events are decoded by a function of a test's own.

use std::marker::PhantomData;
use std::sync::Arc;

use shared::runtime::json::Payload;
use shared::store::Tx;
use worker_service::consumer::event_lines::EventLines;
use worker_service::consumer::handler::Applied;
use worker_service::consumer::registry::{Registry, Settings};
use worker_service::devices::{Devices, EventsConfig};
use worker_service::source::HandlerSpec;

use crate::prelude::*;

/// How.
pub(crate) trait Decode: Send + Sync + 'static {
    /// The types that are known.
    const TYPES: &'static [&'static str] = Devices::SPEC.types;

    fn decode(envelope: &Envelope) -> Result<Event, Refusal>;
}

/// Devices, but for that.
struct Decoding<D>(Devices, PhantomData<D>);

impl<D: Decode> Handler for Decoding<D> {
    type Event = Event;
    type Prepared = ();

    const SPEC: HandlerSpec = HandlerSpec { types: D::TYPES, ..Devices::SPEC };
    const OUTCOMES: &'static [&'static str] = Devices::OUTCOMES;
    const LINES: EventLines = Devices::LINES;
    const BEGIN: &'static str = Devices::BEGIN;

    fn decode(envelope: &Envelope) -> Result<Event, Refusal> {
        D::decode(envelope)
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&Delivery<Event>], prepared: &()) -> Result<Applied, Failure> {
        self.0.apply(tx, batch, prepared).await
    }

    fn made_up(nobody: Arc<str>, payload: Payload) -> Event {
        Devices::made_up(nobody, payload)
    }
}

impl Kit {
    pub(crate) fn worker_decoding<D: Decode>(&self, parts: Parts) -> Worker {
        let config = run_config(&self.scope);
        let mut registry = Registry::default();
        let decoding = |settings: &Settings| {
            let events = settings.of::<EventsConfig>()?.clone();
            Ok(Decoding::<D>(Devices { events }, PhantomData))
        };
        registry.handler(decoding).cached(&shared::devices::RESOURCE);
        Worker::start_with(&config, registry, parts).unwrap()
    }
}
