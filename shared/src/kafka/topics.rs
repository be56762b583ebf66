//! Topics: the settings that the delivery guarantees need, and how `setup` creates them.

mod replicas;
pub mod settings;
pub mod setup;
