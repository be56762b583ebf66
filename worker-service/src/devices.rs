//! Devices: their events become rows of `events` and the state of `resources`.

pub mod expire;
pub mod forget;

use shared::devices::queries::{self, Outcome};
use shared::devices::{EVENT_TYPES, Event, RESOURCE, made_up};
use shared::kafka::{Delivery, Envelope, Refusal};
use shared::store::{StoreError, Tx};

use crate::config::RunConfig;
use crate::consumer::handler::{Applied, Handler, Processed};
use crate::consumer::registry::{Names, Registry};

/// What a worker does for devices.
pub fn register(worker: &mut Registry, config: &RunConfig) {
    let names = Names { group: config.source.group.group.clone(), topics: config.source.topics.clone() };
    let (retention, since) = (config.events_retention, tokio::time::Instant::now());
    worker
        .handler(Devices, names)
        .task("expire", move |given| expire::run(given.store.clone(), retention, since))
        .cached(&RESOURCE);
}

/// Applies what devices report.
#[derive(Debug, Clone, Copy)]
pub struct Devices;

impl Handler for Devices {
    type Event = Event;
    type Prepared = ();

    const NAME: &'static str = "devices";
    const TYPES: &'static [&'static str] = &EVENT_TYPES;
    const OUTCOMES: &'static [&'static str] = &Outcome::NAMES;
    const BEGIN: &'static str = queries::BEGIN;

    fn decode(envelope: &Envelope) -> Result<Event, Refusal> {
        Event::decode(envelope)
    }

    async fn prepare(&self, _: &[&Delivery<Event>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&Delivery<Event>], (): &()) -> Result<Applied, StoreError> {
        let queries::Applied { events, fences, .. } = queries::apply(tx, batch).await?;
        let processed = |it: queries::Processed| Processed {
            outcome: it.outcome.as_str(),
            counts: it.outcome.counts(),
            version: it.version,
            fence: it.fence,
        };
        Ok(Applied { events: events.into_iter().map(processed).collect(), fences })
    }

    fn made_up(bytes: usize) -> Result<Delivery<Event>, StoreError> {
        made_up(bytes)
    }
}
