//! The settings of the public port.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::time::Duration;

use clap::builder::TypedValueParser as _;
use clap::{Args, value_parser};
use shared::runtime::config::{CONNECTION_TIMEOUTS, duration_in, trimmed};

use super::cors::Origins;
use super::in_flight::LARGEST_BODY;
use super::webhook::Senders;

const KEEP_ALIVE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3_600);
const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);

/// The public port.
#[derive(Debug, Clone, Args)]
pub struct HttpConfig {
    /// The address on which the API listens.
    #[arg(long = "api-bind", env = "API_BIND", value_name = "API_BIND", default_value = "0.0.0.0:8000", value_parser = trimmed(SocketAddr::from_str))]
    pub bind: SocketAddr,
    /// The time for one request, from the end of its body to the answer: from 1ms to 1h.
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "10s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub request_timeout: Duration,
    /// The bytes a second that a body has to have, on average, after its first 5 s; a slower one gets 408. From 1 to
    /// 1000000.
    #[arg(long, env = "BODY_MIN_RATE", default_value_t = 500, value_parser = trimmed(value_parser!(u32).range(1..=1_000_000)))]
    pub body_min_rate: u32,
    /// The time for a whole body, whatever its rate: from 1ms to 1h. Of bodies that take longer than 5 s there may be as
    /// many as a quarter of `MAX_CONNECTIONS`, with half of `MAX_BYTES_IN_FLIGHT`, and one subject may have a quarter of
    /// both; the next one gets 503 with `Retry-After`.
    #[arg(long, env = "BODY_TIMEOUT", default_value = "2m", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub body_timeout: Duration,
    /// How long a client may read nothing of its answer before its connection is closed, from 1ms to 1h.
    #[arg(long, env = "WRITE_TIMEOUT", default_value = "30s", value_parser = duration_in(CONNECTION_TIMEOUTS))]
    pub write_timeout: Duration,
    /// The time until a request's headers are complete, from the connection's start or the previous answer. Set it
    /// longer than a load balancer keeps idle connections, or the load balancer answers 502 now and then. From 1ms to
    /// 1day.
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", default_value = "75s", value_parser = duration_in(KEEP_ALIVE_TIMEOUTS))]
    pub keep_alive_timeout: Duration,
    /// The maximum number of connections. Further ones wait until a connection ends, and meanwhile each is closed with
    /// its next answer. From 1 to 1000000.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = trimmed(value_parser!(u32).range(1..=1_000_000)))]
    pub max_connections: u32,
    /// The maximum number of bytes of bodies in memory, and of large answers; further requests get 503 with
    /// `Retry-After`. From 17825792 to 1099511627776: the minimum suffices to decompress the largest body.
    #[arg(long, env = "MAX_BYTES_IN_FLIGHT", default_value_t = 64 * 1024 * 1024, value_parser = trimmed(value_parser!(u64).range(LARGEST_BODY as u64..=1 << 40).try_map(usize::try_from)))]
    pub max_bytes_in_flight: usize,
    /// How long the service still accepts requests after SIGTERM, while `/health/ready` answers 503: as long as the
    /// load balancer needs to notice; up to 1h.
    #[arg(long, env = "DRAIN_DELAY", default_value = "5s", value_parser = duration_in(DRAINS))]
    pub drain_delay: Duration,
    /// The time for requests under way to end after that, up to 1h.
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "15s", value_parser = duration_in(DRAINS))]
    pub drain_timeout: Duration,
    /// The origins whose web pages may call the API from a browser (CORS), separated by commas, each as browsers send it,
    /// such as `https://dashboard.example`; `localhost` allows every port of this machine, for development. None if this
    /// is not set.
    #[arg(long, env, value_parser = trimmed(Origins::from_str))]
    pub cors_origins: Option<Origins>,
    /// The senders of CloudEvents whose webhook handshake is granted, separated by commas, such as
    /// `eventgrid.azure.net`; `*` allows all. None if this is not set. Each delivery needs a token all the same.
    #[arg(long, env, value_parser = trimmed(Senders::from_str))]
    pub webhook_allowed_origins: Option<Senders>,
}
