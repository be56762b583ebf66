//! What is told outside of what happens here: metrics, CloudWatch's lines, spans, panics.

pub mod emf;
pub mod metrics;
pub mod panics;
pub mod partition_lag;
pub mod trace;
