//! The tables over several nodes.

use crate::store::{Colocated, Distributed};

/// The tables of devices, all by the device. (`event_expiry` has two rows, and stays on the coordinator.)
pub const DISTRIBUTED: Colocated = &[
    Distributed { table: "events", column: "device_id" },
    Distributed { table: "resources", column: "id" },
    Distributed { table: "forgotten_devices", column: "device_id" },
];
