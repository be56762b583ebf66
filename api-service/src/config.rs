//! Every setting of the API; `--help` is the reference.

mod cli;

use anyhow::ensure;
use clap::Parser;
use shared::cache::RedisConfig;
use shared::kafka::KafkaConfig;
use shared::runtime::config::{AccessLogConfig, LogConfig, OpsConfig, TraceConfig};
use shared::store::PostgresConfig;

pub use self::cli::Cli;
use crate::auth::JwtConfig;
use crate::backbone::Settings;
use crate::domains::DomainsConfig;
use crate::http::HttpConfig;
use crate::http::rate::RateConfig;
use crate::ingest::producer::ProducerConfig;

/// Accepts events over HTTP and answers only once Kafka holds them; serves the latest state of a
/// resource.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub jwt: JwtConfig,
    #[command(flatten)]
    pub rates: RateConfig,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub domains: DomainsConfig,
    #[command(flatten)]
    pub producer: ProducerConfig,
    #[command(flatten)]
    pub postgres: PostgresConfig,
    #[command(flatten)]
    pub redis: RedisConfig,
    #[command(flatten)]
    pub ops: OpsConfig,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub access_log: AccessLogConfig,
    #[command(flatten)]
    pub traces: TraceConfig,
}

impl Config {
    pub fn backbone(&self) -> Settings<'_> {
        Settings {
            http: &self.http,
            jwt: &self.jwt,
            rates: &self.rates,
            kafka: &self.kafka,
            producer: &self.producer,
            postgres: &self.postgres,
            redis: &self.redis,
            access_log: self.access_log.access_log,
        }
    }

    /// Looks for settings that contradict each other, and for bad secrets, which clap would quote.
    pub fn check(&self) -> anyhow::Result<()> {
        self.jwt.check()?;
        self.rates.check()?;
        let request = ("REQUEST_TIMEOUT", self.http.request_timeout);
        let message = ("KAFKA_MESSAGE_TIMEOUT", self.producer.message_timeout);
        for ((name, time), (longer, most)) in [
            // Kafka's verdict has to come before the answer is due.
            (message, request),
            (("KAFKA_LINGER", self.producer.linger), message),
            // A read that Redis leaves without an answer has to have time for PostgreSQL.
            (("REDIS_TIMEOUT", self.redis.timeout), request),
        ] {
            ensure!(time < most, "{name}={time:?} must be less than {longer}={most:?}");
        }
        Ok(())
    }
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
        let missing = Config::try_parse_from(none).unwrap().check().unwrap_err().to_string();
        assert_eq!(missing, "one of JWT_SECRET, JWT_JWKS_URL and JWT_JWKS_FILE is needed: nobody could have a token");
    }
}
