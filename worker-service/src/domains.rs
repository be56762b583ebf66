//! The domains of this worker: one line each.

use crate::consumer::registry::Registry;
use crate::{ads, devices, outbox, placements};

/// Registers all domains.
pub fn registry() -> Registry {
    let mut worker = Registry::default();
    outbox::register(&mut worker);
    devices::register(&mut worker);
    ads::register(&mut worker);
    placements::register(&mut worker);
    worker
}
