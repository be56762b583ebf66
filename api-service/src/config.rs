//! Every setting of the API; `--help` is the reference.

mod cli;
mod jwt;
mod rates;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser, value_parser};
use shared::cache::RedisConfig;
use shared::kafka::{KafkaConfig, TopicConfig};
use shared::runtime::config::{
    AccessLogConfig, CONNECTION_TIMEOUTS, LogConfig, OpsConfig, TraceConfig, duration_in, trimmed,
};
use shared::store::PostgresConfig;

pub use self::cli::Cli;
pub use self::jwt::{DeviceBinding, JwtConfig};
pub use self::rates::RateConfig;

const KEEP_ALIVE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3_600);
const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);
/// As librdkafka has it.
const LINGERS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(900);

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
    pub topics: TopicConfig,
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

/// The public port.
#[derive(Debug, Clone, Args)]
pub struct HttpConfig {
    /// The address that is served.
    #[arg(long = "api-bind", env = "API_BIND", value_name = "API_BIND", default_value = "0.0.0.0:8000", value_parser = trimmed(SocketAddr::from_str))]
    pub bind: SocketAddr,
    /// How long one request may take, from its headers to the answer: from 1ms to 1h. The body has what
    /// `KAFKA_MESSAGE_TIMEOUT` leaves of it, so that a slow one does not cut Kafka's time short.
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "10s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub request_timeout: Duration,
    /// How long a client may take none of its answer before its connection is closed, from 1ms to 1h.
    #[arg(long, env = "WRITE_TIMEOUT", default_value = "30s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub write_timeout: Duration,
    /// How long a connection may wait for a request's headers to be there, from its start or from the
    /// answer before. Longer than a load balancer in front keeps an idle one, or it answers 502 now and
    /// then. From 1ms to 1day.
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", default_value = "75s", value_parser = duration_in(KEEP_ALIVE_TIMEOUTS))]
    pub keep_alive_timeout: Duration,
    /// The most connections at once. One more waits for one to end, and meanwhile each is closed with
    /// its next answer. From 1 to 1000000.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = trimmed(value_parser!(u32).range(1..=1_000_000)))]
    pub max_connections: u32,
    /// How many bytes of bodies may be in memory at once, and how many of large answers; who comes on
    /// top is told to come back. From 17825792 to 1099511627776: room for
    /// the largest body at least, and for unpacking it.
    #[arg(long, env = "MAX_BYTES_IN_FLIGHT", default_value_t = 64 * 1024 * 1024, value_parser = trimmed(bytes_in_flight))]
    pub max_bytes_in_flight: usize,
    /// How long traffic is still taken after the service was told to end, and says so on
    /// `/health/ready`: as long as the load balancer needs to notice; up to 1h.
    #[arg(long, env = "DRAIN_DELAY", default_value = "5s", value_parser = duration_in(DRAINS))]
    pub drain_delay: Duration,
    /// How long requests under way may take to end after that, up to 1h.
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "15s", value_parser = duration_in(DRAINS))]
    pub drain_timeout: Duration,
}

/// How events are handed to Kafka.
#[derive(Debug, Clone, Args)]
pub struct ProducerConfig {
    /// How long Kafka may take to acknowledge an event, from 1ms to 1h; less than `REQUEST_TIMEOUT`.
    #[arg(long = "kafka-message-timeout", env = "KAFKA_MESSAGE_TIMEOUT", value_name = "KAFKA_MESSAGE_TIMEOUT", default_value = "5s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub message_timeout: Duration,
    /// How long an event waits for others to travel with: up to 15m, and less than `KAFKA_MESSAGE_TIMEOUT`.
    #[arg(long = "kafka-linger", env = "KAFKA_LINGER", value_name = "KAFKA_LINGER", default_value = "5ms", value_parser = duration_in(LINGERS))]
    pub linger: Duration,
    /// How many bytes may wait for Kafka, from 1024 to 1099511627776; what comes on top is refused at once.
    #[arg(long = "kafka-queue-bytes", env = "KAFKA_QUEUE_BYTES", value_name = "KAFKA_QUEUE_BYTES", default_value_t = 64 * 1024 * 1024,
          value_parser = trimmed(value_parser!(u64).range(1024..=1 << 40)))]
    pub queue_bytes: u64,
}

fn bytes_in_flight(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "it must be a number of bytes".to_owned())?;
    let bounds = crate::encoding::MOST_ROOM..=1 << 40;
    if bounds.contains(&bytes) { Ok(bytes) } else { Err("it must be from 17825792 to 1099511627776".to_owned()) }
}

impl Config {
    /// How long a request's body may take: Kafka then has its whole time.
    pub fn body_timeout(&self) -> Duration {
        self.http.request_timeout.saturating_sub(self.producer.message_timeout)
    }

    /// Looks for settings that contradict each other, and for bad secrets, which clap would quote.
    pub fn check(&self) -> anyhow::Result<()> {
        self.jwt.check()?;
        self.rates.check()?;
        // Kafka's verdict has to come before the answer is due.
        ensure!(
            self.producer.message_timeout < self.http.request_timeout,
            "KAFKA_MESSAGE_TIMEOUT={:?} must be less than REQUEST_TIMEOUT={:?}",
            self.producer.message_timeout,
            self.http.request_timeout
        );
        ensure!(
            self.producer.linger < self.producer.message_timeout,
            "KAFKA_LINGER={:?} must be less than KAFKA_MESSAGE_TIMEOUT={:?}",
            self.producer.linger,
            self.producer.message_timeout
        );
        // A read that Redis leaves without an answer has to have time for PostgreSQL.
        ensure!(
            self.redis.timeout < self.http.request_timeout,
            "REDIS_TIMEOUT={:?} must be less than REQUEST_TIMEOUT={:?}",
            self.redis.timeout,
            self.http.request_timeout
        );
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

    #[test]
    fn each_setting_means_the_same_however_it_is_given() {
        let tried = as_given::each_means_the_same(&Cli::command(), &|_| &[], &as_given::of::<jwt::DeviceBinding>);
        assert!(tried > 40, "{tried}");
    }

    #[test]
    fn the_line_feed_of_a_mounted_secret_is_no_part_of_it() {
        let mounted = config(&["--jwt-secret", &format!("{SECRET}\n")]);
        mounted.check().unwrap();
        assert_eq!(mounted.jwt.jwt_secret.unwrap().expose(), SECRET);
        let short = config(&["--jwt-secret", &format!("{}\n", "s".repeat(31))]);
        assert!(short.check().is_err(), "it makes no secret long enough");
    }

    const SECRET: &str = "planted-7f3a-planted-7f3a-planted-7f3a";

    fn config(more: &[&str]) -> Config {
        let mut args = vec!["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        if !more.iter().any(|arg| arg.starts_with("--jwt-secret")) {
            args.extend(["--jwt-secret", SECRET]);
        }
        args.extend(more);
        Config::try_parse_from(args).unwrap()
    }

    #[test]
    fn the_defaults_are_good() {
        let config = config(&[]);
        config.check().unwrap();
        assert_eq!(config.http.bind.port(), 8000);
        assert_eq!(config.jwt.jwt_device_binding, DeviceBinding::Required);
    }

    #[test]
    fn contradictions_are_one_clear_line() {
        let line = |more: &[&str]| config(more).check().unwrap_err().to_string();
        assert_eq!(
            line(&["--jwt-secret=short"]),
            "JWT_SECRET must have at least 32 bytes, as HS256 asks for; for development alone a shorter one is taken \
             with JWT_ALLOW_SHORT_SECRET=true"
        );
        config(&["--jwt-secret=s", "--jwt-allow-short-secret=true"]).check().unwrap();
        config(&["--jwt-secret", &"s".repeat(32)]).check().unwrap();
        assert_eq!(
            line(&["--kafka-message-timeout=10s"]),
            "KAFKA_MESSAGE_TIMEOUT=10s must be less than REQUEST_TIMEOUT=10s"
        );
        assert_eq!(
            line(&["--jwt-jwks-file=f", "--jwt-jwks-url=https://h"]),
            "JWT_JWKS_URL and JWT_JWKS_FILE: set one of them, not both"
        );
        assert_eq!(line(&["--rate-limit-burst=5"]), "RATE_LIMIT_BURST is set, and RATE_LIMIT_EVENTS_PER_SECOND is not");
        config(&["--request-timeout=6s"]).check().unwrap();
        assert_eq!(config(&["--request-timeout=6s"]).body_timeout(), Duration::from_secs(1));
        assert_eq!(line(&["--kafka-linger=6s"]), "KAFKA_LINGER=6s must be less than KAFKA_MESSAGE_TIMEOUT=5s");
        assert_eq!(line(&["--redis-timeout=10s"]), "REDIS_TIMEOUT=10s must be less than REQUEST_TIMEOUT=10s");
    }

    #[test]
    fn the_secret_shows_nowhere_and_has_no_default() {
        assert!(!format!("{:?}", config(&[])).contains("planted"));
        let none = ["api", "--kafka-brokers=b:1", "--database-url=postgres://h/d", "--redis-url=redis://h"];
        let missing = Config::try_parse_from(none).unwrap().check().unwrap_err().to_string();
        assert_eq!(missing, "one of JWT_SECRET, JWT_JWKS_URL and JWT_JWKS_FILE is needed: nobody could have a token");
    }
}
