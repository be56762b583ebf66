//! The domains of this worker: one line each.

use crate::config::RunConfig;
use crate::consumer::registry::Registry;
use crate::devices;

/// What they all do.
pub fn register(config: &RunConfig) -> Registry {
    let mut worker = Registry::default();
    devices::register(&mut worker, config);
    worker
}
