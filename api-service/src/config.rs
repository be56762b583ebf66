//! Every setting of the API; `--help` is the reference.

mod cli;

use clap::Parser;
use shared::runtime::config::{LogConfig, OpsConfig, TraceConfig};

pub use self::cli::Cli;
use crate::backbone::Settings;
use crate::domains::DomainsConfig;

/// Accepts events over HTTP and answers only once Kafka holds them; serves the latest state of a
/// resource.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    #[command(flatten)]
    pub backbone: Settings,
    #[command(flatten)]
    pub domains: DomainsConfig,
    #[command(flatten)]
    pub ops: OpsConfig,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub traces: TraceConfig,
}

#[cfg(test)]
#[path = "../../shared/tests/settings/as_given.rs"]
mod as_given;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::devices::DeviceBinding;

    #[test]
    fn each_setting_means_the_same_however_it_is_given() {
        let tried = as_given::each_means_the_same(&Cli::command(), &|_| &[], &as_given::of::<DeviceBinding>);
        assert!(tried > 40, "{tried}");
    }

    #[test]
    fn the_secret_shows_nowhere_and_has_no_default() {
        let none = ["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        let with = Config::try_parse_from(none.into_iter().chain(["--jwt-secret=planted"])).unwrap();
        assert!(!format!("{with:?}").contains("planted"));
        let missing = Config::try_parse_from(none).unwrap().backbone.check().unwrap_err().to_string();
        assert_eq!(missing, "set JWT_SECRET, JWT_JWKS_URL or JWT_JWKS_FILE: without a key no token can be verified");
    }
}
