//! The parts that every process needs: settings, log, traces, metrics, signals, the internal port, JSON, and times as
//! text.

pub mod breaker;
pub mod config;
pub mod cores;
pub mod json;
pub mod lifecycle;
pub(crate) mod named;
pub mod ops;
pub mod probe;
pub(crate) mod redact;
pub mod rfc3339;
pub mod sabotage;
pub mod telemetry;
pub mod unique;
pub(crate) mod within;
