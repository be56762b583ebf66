//! The dependencies shared by all domains, and the tasks that run beside them. No domain is named here.

pub mod config;
pub mod health;
pub mod json_body;
pub mod openapi;
pub mod outbox;
pub mod probes;
pub mod tail;
pub mod tasks;

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use axum::http::request::Parts;
use clap::Args;
use futures_util::future::BoxFuture;
use metrics::{describe_gauge, gauge};
use shared::cache::{Cache, Fencer, Kind, RedisConfig};
use shared::kafka::KafkaConfig;
use shared::kafka::schemas::Published;
use shared::runtime::config::AccessLogConfig;
use shared::store::outbox::doorbell::Doorbell;
use shared::store::{PostgresConfig, Store};
use tokio::time::Instant;

use self::config::CommandsConfig;
use self::health::Health;
use self::outbox::OutboxLimit;
use self::probes::Probes;
use self::tail::{Tail, Tails};
use self::tasks::RunTask;
use crate::auth::internal::{Internal, InternalConfig};
use crate::auth::tokens::Tokens;
use crate::auth::{Caller, Declared, JwtConfig, identify_or};
use crate::cached::Cached;
use crate::http::body::BodyLimits;
use crate::http::in_flight::InFlight;
use crate::http::openapi::Part;
use crate::http::problem::{Code, Problem};
use crate::http::rate::{self, RateConfig, Rates};
use crate::http::response_budget::in_time;
use crate::http::{HttpConfig, Route, server};
use crate::ingest;
use crate::ingest::producer::{Producer, ProducerConfig};

/// What a domain declares.
pub struct Domain {
    /// Its name, as in `API_DOMAINS`.
    pub name: &'static str,
    /// The roles that its callers may have.
    pub roles: &'static [&'static str],
    pub codes: &'static [Code],
    /// The kinds of resources that it caches.
    pub kinds: &'static [&'static Kind],
    /// The schemas of the events that it publishes.
    pub published: &'static [&'static Published],
    /// Its parts of the OpenAPI document.
    pub openapi: fn() -> Vec<Part>,
    /// Describes its own metrics, and starts those at 0 that alerts use.
    pub describe: fn(),
}

/// A domain that this instance serves.
#[derive(Default)]
pub struct Served {
    pub routes: Vec<Route>,
    pub producers: Vec<Producer>,
    /// The paths to which senders of CloudEvents may deliver.
    pub webhooks: Vec<&'static str>,
    /// Whether its commands write events into the outbox.
    pub writes_outbox: bool,
    /// A task that runs beside its routes until the producers are flushed: its name, and a function that starts it.
    pub task: Option<(&'static str, RunTask)>,
    /// Work that remains after that, before the pool of PostgreSQL closes; all domains together have five seconds.
    pub drained: Option<BoxFuture<'static, ()>>,
}

/// The settings of the backbone.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub jwt: JwtConfig,
    #[command(flatten)]
    pub internal: InternalConfig,
    #[command(flatten)]
    pub rates: RateConfig,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub producer: ProducerConfig,
    #[command(flatten)]
    pub postgres: PostgresConfig,
    #[command(flatten)]
    pub redis: RedisConfig,
    #[command(flatten)]
    pub access_log: AccessLogConfig,
    #[command(flatten)]
    pub commands: CommandsConfig,
}

impl Settings {
    /// Rejects settings that contradict each other, and bad secrets, which clap would quote.
    pub fn check(&self) -> anyhow::Result<()> {
        self.jwt.check()?;
        self.internal.check()?;
        self.rates.check()?;
        let request = ("REQUEST_TIMEOUT", self.http.request_timeout);
        let message = ("KAFKA_MESSAGE_TIMEOUT", self.producer.message_timeout);
        for ((name, time), (longer, most)) in [
            // Kafka must acknowledge or refuse before the response is due.
            (message, request),
            (("KAFKA_LINGER", self.producer.linger), message),
            // If Redis does not answer, PostgreSQL needs time for the read.
            (("REDIS_TIMEOUT", self.redis.timeout), request),
        ] {
            ensure!(time < most, "{name}={time:?} must be less than {longer}={most:?}");
        }
        Ok(())
    }

    /// Warns of settings that are valid, and probably a mistake. To be called at the start.
    pub fn warn(&self) {
        self.jwt.warn();
        self.rates.warn(ingest::batch::MAX_EVENTS);
    }
}

/// The dependencies that every domain receives.
pub struct Backbone {
    pub tokens: Arc<Tokens>,
    /// The tokens between services, if there is a secret for them.
    pub internal: Option<Arc<Internal>>,
    pub rates: Rates,
    /// The memory budget of large responses.
    pub answers: InFlight,
    pub store: Store,
    pub cached: Cached,
    /// For changes that are made here, and not by an event.
    pub fencer: Fencer,
    /// For commands whose events are committed.
    pub doorbell: Doorbell,
    /// Whether commands may write further events.
    pub outbox: OutboxLimit,
    /// The dependencies of handlers that accept events.
    pub ingest: ingest::Dependencies,
    pub health: Arc<Health>,
    cache: Cache,
    kafka: KafkaConfig,
    producer: ProducerConfig,
    redis: RedisConfig,
    held_requests_max: u32,
    tails: Tails,
}

impl Backbone {
    /// Builds everything. It needs no running server and binds no port. `declared` and `kinds` are those of the domains.
    pub fn new(settings: &Settings, declared: Declared, kinds: &[&'static Kind]) -> anyhow::Result<Arc<Self>> {
        let Settings { http, jwt, internal, rates, kafka, producer, postgres, redis, access_log, commands } = settings;
        let tokens = Arc::new(Tokens::new(jwt, declared)?);
        let rates = Rates::new(rates);
        let answers = InFlight::new(http.max_bytes_in_flight);
        let cache = Cache::open(redis, kinds)?;
        let store = Store::open(postgres, "api-service")?;
        Ok(Arc::new(Self {
            fencer: Fencer::new(cache.clone(), store.clone()),
            doorbell: Doorbell::new(store.clone()),
            outbox: OutboxLimit::new(store.clone(), commands.outbox_max_rows),
            cached: Cached::new(cache.clone(), kinds, store.clone(), answers.clone(), http.request_timeout),
            ingest: ingest::Dependencies {
                tokens: Arc::clone(&tokens),
                rates: rates.clone(),
                in_flight: InFlight::of_bodies(http.max_bytes_in_flight, server::max_slow_bodies(http)),
                request_timeout: http.request_timeout,
                bodies: BodyLimits::new(http),
                access_log: access_log.access_log,
            },
            tokens,
            internal: Internal::new(internal)?.map(Arc::new),
            rates,
            answers,
            cache,
            store,
            health: Arc::default(),
            kafka: kafka.clone(),
            producer: producer.clone(),
            redis: redis.clone(),
            held_requests_max: commands.held_requests_max,
            tails: Tails::default(),
        }))
    }

    /// Authenticates the caller of a read, checks its rights with `may`, and charges its rate limit. Errors: 401, 403,
    /// 429, and 503 if the token cannot be verified.
    pub async fn reader(
        &self,
        parts: &Parts,
        deadline: Instant,
        may: impl FnOnce(&Caller) -> Result<(), Problem> + Send,
    ) -> Result<Arc<Caller>, Problem> {
        self.reader_or(parts, deadline, None, may).await
    }

    /// The same where a request without any `Authorization` header is of the `anonymous` caller, if there is one. For
    /// commands without a body, too.
    pub async fn reader_or(
        &self,
        parts: &Parts,
        deadline: Instant,
        anonymous: Option<&Arc<Caller>>,
        may: impl FnOnce(&Caller) -> Result<(), Problem> + Send,
    ) -> Result<Arc<Caller>, Problem> {
        // The timer of the deadline covers only this step, so that a cache hit sets none: a known token is ready at
        // once, and Redis has its own timeout.
        let caller = in_time(deadline, identify_or(&parts.headers, &self.tokens, || anonymous.cloned())).await??;
        may(&caller)?;
        self.rates.charge(rate::Kind::Reads, parts, caller.quota(), 1)?;
        Ok(caller)
    }

    /// A producer to this topic.
    pub fn producer(&self, topic: &str) -> anyhow::Result<Producer> {
        Producer::new(&self.kafka, &self.producer, topic)
    }

    /// The same, but no record waits longer than this for its acknowledgement.
    pub fn producer_within(&self, most: Duration, topic: &str) -> anyhow::Result<Producer> {
        let ProducerConfig { message_timeout, linger, .. } = self.producer;
        // A linger must be shorter than the timeout.
        let (message_timeout, linger) = (message_timeout.min(most), linger.min(most / 2));
        Producer::new(&self.kafka, &ProducerConfig { message_timeout, linger, ..self.producer.clone() }, topic)
    }

    /// Holds requests until events of this topic come.
    pub fn tail(&self, topic: &str) -> anyhow::Result<Arc<Tail>> {
        let tail = Arc::new(Tail::new(shared::kafka::client(&self.kafka)?, topic, self.held_requests_max));
        self.tails.add(&tail);
        Ok(tail)
    }

    /// How many requests are held at the moment.
    pub fn held_requests(&self) -> usize {
        self.tails.held()
    }

    /// Marks the start of the shutdown: the instance should get no more traffic, and holds no request any more.
    pub fn end(&self) {
        self.health.end();
        self.tails.end();
    }

    /// Prepares the calling core: it connects to Redis.
    pub fn attend(&self) {
        self.cache.attend();
    }

    /// The settings of Redis, for connections other than the cache's.
    pub fn redis(&self) -> &RedisConfig {
        &self.redis
    }

    /// The probes of PostgreSQL, of Redis, and of Kafka with the topics of these producers and of the tails.
    pub fn probes(&self, producers: &[Producer]) -> anyhow::Result<Probes> {
        let (read, health) = (self.tails.topics(), Arc::clone(&self.health));
        Probes::new(&self.kafka, producers, read, self.store.clone(), self.cache.clone(), health)
    }
}

pub fn describe() {
    crate::http::describe();
    crate::auth::describe();
    ingest::producer::describe();
    crate::cached::describe();
    describe_gauge!("dependency_up", "Whether a dependency works, as this instance sees it.");
    describe_gauge!(outbox::FULL, "Whether commands are refused because too many events wait to be published.");
    describe_gauge!(tail::HELD, "Requests that are held until an event comes.");
    for name in [outbox::FULL, tail::HELD] {
        gauge!(name).set(0.0);
    }
}
