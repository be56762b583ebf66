//! Observability: metrics, CloudWatch's log lines, spans, panics.

pub mod emf;
pub mod metrics;
pub mod panics;
pub mod partition_lag;
pub mod trace;
