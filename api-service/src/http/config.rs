//! The settings of the public port.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::time::Duration;

use clap::{Args, value_parser};
use shared::runtime::config::{CONNECTION_TIMEOUTS, duration_in, trimmed};

use super::in_flight::LARGEST_BODY;

const KEEP_ALIVE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3_600);
const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);

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

fn bytes_in_flight(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "it must be a number of bytes".to_owned())?;
    let bounds = LARGEST_BODY..=1 << 40;
    if bounds.contains(&bytes) { Ok(bytes) } else { Err("it must be from 17825792 to 1099511627776".to_owned()) }
}
