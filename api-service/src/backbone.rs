//! What every domain is given, and what runs beside them: no domain is named here.

pub mod health;
pub mod openapi;
pub mod probes;
pub mod tasks;

use std::sync::Arc;

use anyhow::ensure;
use axum::http::request::Parts;
use clap::Args;
use futures_util::future::BoxFuture;
use metrics::describe_gauge;
use shared::cache::{Cache, Kind, RedisConfig};
use shared::kafka::KafkaConfig;
use shared::runtime::config::AccessLogConfig;
use shared::store::{PostgresConfig, Store};
use tokio::time::Instant;

use self::health::Health;
use self::probes::Probes;
use self::tasks::RunTask;
use crate::auth::tokens::Tokens;
use crate::auth::{Caller, JwtConfig, identify};
use crate::cached::Cached;
use crate::http::in_flight::InFlight;
use crate::http::openapi::Part;
use crate::http::problem::{Code, Problem};
use crate::http::rate::{self, RateConfig, Rates};
use crate::http::response_budget::in_time;
use crate::http::{HttpConfig, Route};
use crate::ingest;
use crate::ingest::producer::{Producer, ProducerConfig};

/// What a domain declares.
pub struct Domain {
    /// Its name, as `API_DOMAINS` has it.
    pub name: &'static str,
    /// Claims that bind a token to things of this domain: a string, or a list of them.
    pub claims: &'static [&'static str],
    pub codes: &'static [Code],
    /// What it keeps in the cache.
    pub kinds: &'static [&'static Kind],
    /// Its parts of the document.
    pub openapi: fn() -> Vec<Part>,
}

/// A domain that is served.
#[derive(Default)]
pub struct Served {
    pub routes: Vec<Route>,
    pub producers: Vec<Producer>,
    /// What runs beside its routes, until the producers are flushed: its name, and how it begins.
    pub task: Option<(&'static str, RunTask)>,
    /// What is left to do then, before the pool of PostgreSQL closes; all domains have five seconds for it.
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
}

impl Settings {
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

/// What every domain is given.
pub struct Backbone {
    pub tokens: Arc<Tokens>,
    pub rates: Rates,
    /// The budget of large answers.
    pub answers: InFlight,
    pub store: Store,
    pub cached: Cached,
    /// What taking events needs.
    pub ingest: ingest::Dependencies,
    pub health: Arc<Health>,
    cache: Cache,
    kafka: KafkaConfig,
    producer: ProducerConfig,
}

impl Backbone {
    /// Builds everything; nothing has to be up, and no port is bound. `claims` and `kinds` are those of the domains.
    pub fn new(settings: &Settings, claims: &[&'static str], kinds: &[&'static Kind]) -> anyhow::Result<Arc<Self>> {
        let Settings { http, jwt, rates, kafka, producer, postgres, redis, access_log } = settings;
        let tokens = Arc::new(Tokens::new(jwt, claims)?);
        let rates = Rates::new(rates);
        let answers = InFlight::new(http.max_bytes_in_flight);
        let cache = Cache::open(redis, kinds)?;
        let store = Store::open(postgres, "api-service")?;
        Ok(Arc::new(Self {
            cached: Cached::new(cache.clone(), kinds, store.clone(), answers.clone(), http.request_timeout),
            ingest: ingest::Dependencies {
                tokens: Arc::clone(&tokens),
                rates: rates.clone(),
                in_flight: InFlight::new(http.max_bytes_in_flight),
                request_timeout: http.request_timeout,
                body_timeout: http.request_timeout.saturating_sub(producer.message_timeout),
                access_log: access_log.access_log,
            },
            tokens,
            rates,
            answers,
            cache,
            store,
            health: Arc::default(),
            kafka: kafka.clone(),
            producer: producer.clone(),
        }))
    }

    /// The caller of a read, who may read, as a domain says, and not too often; else 401, 403 or 429, and 503 where it
    /// cannot be found out.
    pub async fn reader(
        &self,
        parts: &Parts,
        deadline: Instant,
        may_read: impl FnOnce(&Caller) -> Result<(), Problem> + Send,
    ) -> Result<Arc<Caller>, Problem> {
        // No more than this has the deadline's timer, so that a hit sets none: a token that is remembered is ready at
        // once, and Redis has a deadline of its own.
        let caller = in_time(deadline, identify(&parts.headers, &self.tokens)).await??;
        may_read(&caller)?;
        self.rates.charge(rate::Kind::Reads, parts, &caller.subject, 1)?;
        Ok(caller)
    }

    /// A producer to this topic.
    pub fn producer(&self, topic: &str) -> anyhow::Result<Producer> {
        Producer::new(&self.kafka, &self.producer, topic)
    }

    /// What looks after Kafka, PostgreSQL and Redis.
    pub fn probes(&self) -> anyhow::Result<Probes> {
        Probes::new(&self.kafka, self.store.clone(), self.cache.clone(), Arc::clone(&self.health))
    }
}

pub fn describe() {
    crate::http::describe();
    crate::auth::describe();
    ingest::producer::describe();
    crate::cached::describe();
    describe_gauge!("dependency_up", "Whether a dependency works, as this instance sees it.");
}
