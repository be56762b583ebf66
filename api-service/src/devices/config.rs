//! The settings of devices.

use clap::{Args, ValueEnum};
use shared::devices::DeviceTopics;
use shared::runtime::config::one_of;

/// What devices may do, and where their events go.
#[derive(Debug, Clone, Args)]
pub struct DevicesConfig {
    #[command(flatten)]
    pub topics: DeviceTopics,
    /// Whether a token of the role `device` needs the claim `device_id`.
    #[arg(long, env, default_value = "required", value_parser = one_of::<DeviceBinding>())]
    pub jwt_device_binding: DeviceBinding,
}

/// Whether a token of the role `device` needs the claim `device_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceBinding {
    /// A token without the claim is refused.
    Required,
    /// A token without the claim may send for every device; a claim limits it.
    Claimed,
}
