//! The settings of devices.

use clap::{Args, ValueEnum};
use shared::devices::DeviceTopics;
use shared::runtime::config::one_of;

/// What devices may do, and where their events go.
#[derive(Debug, Clone, Args)]
pub struct DevicesConfig {
    #[command(flatten)]
    pub topics: DeviceTopics,
    /// What becomes of a `device` token without a `device_id` claim.
    #[arg(long, env, default_value = "required", value_parser = one_of::<DeviceBinding>())]
    pub jwt_device_binding: DeviceBinding,
}

/// What becomes of a `device` token without a `device_id` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceBinding {
    /// It is refused.
    Required,
    /// It may speak for every device; the claim counts where it is there.
    Claimed,
}
