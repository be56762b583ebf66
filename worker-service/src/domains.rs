//! The domains of this worker: one line each.

use crate::consumer::registry::Registry;
use crate::{ads, devices};

/// Registers all domains.
pub fn registry() -> Registry {
    let mut worker = Registry::default();
    devices::register(&mut worker);
    ads::register(&mut worker);
    worker
}
