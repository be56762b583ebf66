//! Topics: their settings, which the promises need, and how `setup` makes them.

mod replicas;
pub mod settings;
pub mod setup;
