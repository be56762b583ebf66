//! The whole system as it ships: both binaries, on real servers, through what it has to survive.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly, helpers too")]

mod crashes;
mod kit;
mod outages;
mod telemetry;
