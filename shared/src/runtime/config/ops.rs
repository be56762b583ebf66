//! The internal port.

use std::net::SocketAddr;
use std::str::FromStr as _;

use super::trimmed;

/// The internal port, for metrics and the worker's health.
#[derive(Debug, Clone, clap::Args)]
pub struct OpsConfig {
    /// The address of `/metrics`, `/health/live` and `/health/ready`; do not publish it.
    #[arg(id = "ops-bind", long, value_name = "OPS_BIND", env = "OPS_BIND", default_value = "0.0.0.0:9100", value_parser = trimmed(SocketAddr::from_str))]
    pub bind: SocketAddr,
}
