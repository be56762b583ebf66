//! The settings of devices.

use clap::{Args, ValueEnum};
use shared::devices::DeviceTopics;
use shared::runtime::config::one_of;

use crate::auth::ClaimPaths;

/// What devices may do, and where their events go.
#[derive(Debug, Clone, Args)]
pub struct DevicesConfig {
    #[command(flatten)]
    pub topics: DeviceTopics,
    /// The claims with the devices of a token, separated by commas: those of all of them count. Each is a JSON pointer
    /// (`/a/b`), a dotted path (`a.b`), or a name with a colon in it. A string is one device, blanks included.
    #[arg(long, env, default_value = "device_id", value_parser = ClaimPaths::parser())]
    pub jwt_devices_claim: ClaimPaths,
    /// Whether a token of the role `device` needs the claim with its devices.
    #[arg(long, env, default_value = "required", value_parser = one_of::<DeviceBinding>())]
    pub jwt_device_binding: DeviceBinding,
}

/// Whether a token of the role `device` needs the claim with its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceBinding {
    /// A token without the claim is refused.
    Required,
    /// A token without the claim may send for every device; a claim limits it.
    Claimed,
}
