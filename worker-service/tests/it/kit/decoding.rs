//! A worker whose events are decoded by a function of a test's own.

use std::marker::PhantomData;

use shared::devices::Event;
use shared::kafka::{Delivery, Envelope, Refusal};
use shared::store::StoreError;
use shared::store::Tx;
use worker_service::consumer::handler::{Applied, Handler};
use worker_service::consumer::registry::{Names, Registry};
use worker_service::devices::Devices;
use worker_service::worker::{Parts, Worker};

use super::{Kit, run_config};

/// How.
pub(crate) trait Decode: Send + Sync + 'static {
    /// The types that are known.
    const TYPES: &'static [&'static str] = Devices::TYPES;

    fn decode(envelope: &Envelope) -> Result<Event, Refusal>;
}

/// Devices, but for that.
struct Decoding<D>(PhantomData<D>);

impl<D: Decode> Handler for Decoding<D> {
    type Event = Event;
    type Prepared = ();

    const NAME: &'static str = Devices::NAME;
    const TYPES: &'static [&'static str] = D::TYPES;
    const OUTCOMES: &'static [&'static str] = Devices::OUTCOMES;
    const BEGIN: &'static str = Devices::BEGIN;

    fn decode(envelope: &Envelope) -> Result<Event, Refusal> {
        D::decode(envelope)
    }

    async fn prepare(&self, _: &[&Delivery<Event>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn apply(&self, tx: &mut Tx<'_>, batch: &[&Delivery<Event>], prepared: &()) -> Result<Applied, StoreError> {
        Devices.apply(tx, batch, prepared).await
    }

    fn made_up(bytes: usize) -> Result<Delivery<Event>, StoreError> {
        Devices::made_up(bytes)
    }
}

impl Kit {
    pub(crate) fn worker_decoding<D: Decode>(&self, parts: Parts) -> Worker {
        let config = run_config(&self.scope);
        let names = Names { group: config.source.group.group.clone(), topics: config.source.topics.clone() };
        let mut registry = Registry::default();
        registry.handler(Decoding::<D>(PhantomData), names).cached(&shared::devices::RESOURCE);
        Worker::start_with(&config, registry, parts).unwrap()
    }

    pub(crate) fn worker_with(&self, parts: Parts) -> Worker {
        let config = run_config(&self.scope);
        Worker::start_with(&config, worker_service::domains::register(&config), parts).unwrap()
    }
}
