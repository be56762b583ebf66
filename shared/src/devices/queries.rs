//! The tables of devices in PostgreSQL: `events` (the history, which also makes a repeat harmless), `resources` (the
//! latest states) and `forgotten_devices` (the tombstones).

mod applied;
mod apply;
mod distributed;
mod erase;
mod expire;
mod history;
mod in_order;
mod indexes;
mod list;
mod read;

pub use self::applied::{Applied, Outcome, Processed};
pub use self::apply::apply;
pub use self::distributed::DISTRIBUTED;
pub use self::erase::{Erased, TopicEnd, erase, reset_ends};
pub use self::expire::{Age, Expired, expire};
pub use self::history::{Cursor, Item, PAGE_BYTES, Page, Span, history};
pub use self::in_order::BEGIN;
pub use self::indexes::INDEXES;
pub use self::list::{Listing, list};
pub use self::read::{load, resource};

use super::{DeviceDelivery, Event};
use crate::kafka::Delivery;
use crate::store::{Failure, Journal, Store, Tx, Work};

/// The journal that makes a repeat harmless.
pub const JOURNAL: Journal =
    Journal { table: "events", matches: "device_id = asked.key AND event_id = asked.id", outcome: "outcome" };

/// Applies a batch in a transaction of its own.
pub async fn apply_batch(store: &Store, batch: &[&DeviceDelivery]) -> Result<Applied, Failure> {
    store.transact(BEGIN, &Batch(batch)).await
}

/// Applies an event and rolls it back, to find out whether events could be applied now.
pub async fn probe(store: &Store, payload_bytes: usize) -> Result<(), Failure> {
    let event = Delivery::probe_event(payload_bytes, Event::of_nobody);
    store.probe(BEGIN, &Batch(&[&event])).await
}

struct Batch<'a>(&'a [&'a DeviceDelivery]);

impl Work for Batch<'_> {
    type Output = Applied;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Applied, Failure> {
        apply(tx, self.0).await
    }
}
