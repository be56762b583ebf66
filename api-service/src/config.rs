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
    use clap::{ArgMatches, CommandFactory as _};

    use super::*;
    use crate::ads::AnonymousRole;
    use crate::auth::{ClaimPaths, List, RequiredClaim, RoleMapping, SecretAlgorithm};
    use crate::devices::DeviceBinding;
    use crate::http::cors::Origins;
    use crate::http::webhook::Senders;

    #[test]
    fn each_setting_means_the_same_however_it_is_given() {
        let others = |matches: &ArgMatches, id: &str| {
            as_given::of::<DeviceBinding>(matches, id)
                .or_else(|| as_given::of::<SecretAlgorithm>(matches, id))
                .or_else(|| as_given::of::<List<String>>(matches, id))
                .or_else(|| as_given::of::<ClaimPaths>(matches, id))
                .or_else(|| as_given::of::<List<RoleMapping>>(matches, id))
                .or_else(|| as_given::of::<List<RequiredClaim>>(matches, id))
                .or_else(|| as_given::of::<Origins>(matches, id))
                .or_else(|| as_given::of::<Senders>(matches, id))
                .or_else(|| as_given::of::<List<AnonymousRole>>(matches, id))
        };
        let tried = as_given::each_means_the_same(&Cli::command(), &|_| &[], &others);
        assert!(tried > 40, "{tried}");
    }

    #[test]
    fn the_secret_shows_nowhere_and_has_no_default() {
        let none = ["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        let with = Config::try_parse_from(none.into_iter().chain(["--jwt-secret=planted"])).unwrap();
        assert!(!format!("{with:?}").contains("planted"));
        let missing = Config::try_parse_from(none).unwrap().backbone.check().unwrap_err().to_string();
        assert_eq!(
            missing,
            "set JWT_SECRET, JWT_JWKS_URL or JWT_JWKS_FILE, or an https address as JWT_ISSUER: without a key no token can be verified"
        );
    }
}
