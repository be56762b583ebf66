//! The servers of a system.

use std::thread;

use devstack::kit::TEST_TIMEOUT;
use devstack::{Certificates, Endpoints, Kafka, Postgres, Redis, Server, endpoints};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

/// A server that a test needs for itself, because it breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Kafka,
    Postgres,
    Redis,
}

/// A test's own servers. The others are the shared ones.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
}

impl Servers {
    pub(crate) fn start(own: &[Own]) -> Self {
        Self::start_with(own, None)
    }

    /// All servers are the test's own; Kafka has a secured listener with this password.
    pub(crate) fn secured(password: &str) -> Self {
        Self::start_with(&[Own::Kafka, Own::Postgres, Own::Redis], Some(password))
    }

    /// The test's own PostgreSQL and Redis with TLS; Redis gets these additional arguments.
    pub(crate) fn with_tls(certificates: &Certificates, of_redis: &[&str]) -> Self {
        let postgres = Some(Postgres::start_with_tls(certificates).unwrap());
        let redis = Some(Redis::start_with_tls(certificates, of_redis).unwrap());
        Self { postgres, redis, ..Self::default() }
    }

    /// The TLS ports of PostgreSQL and Redis.
    pub(crate) fn tls_ports(&self) -> (u16, u16) {
        (self.postgres().port, self.redis().tls_port.unwrap())
    }

    fn start_with(own: &[Own], secured: Option<&str>) -> Self {
        thread::scope(|scope| {
            let kafka = own.contains(&Own::Kafka).then(|| scope.spawn(|| Kafka::start(secured).unwrap()));
            let postgres = own.contains(&Own::Postgres).then(|| scope.spawn(|| Postgres::start().unwrap()));
            let redis = own.contains(&Own::Redis).then(|| Redis::start(&[]).unwrap());
            let (kafka, postgres) = (kafka.map(|it| it.join().unwrap()), postgres.map(|it| it.join().unwrap()));
            Self { kafka, postgres, redis }
        })
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        let mut all = endpoints().clone();
        if let Some(kafka) = &self.kafka {
            all.kafka_brokers = kafka.brokers().to_owned();
            all.kafka_secured = kafka.secured().cloned();
        }
        if let Some(postgres) = &self.postgres {
            all.postgres_url = postgres.url();
            if self.redis.as_ref().is_some_and(|redis| redis.tls_port.is_some()) {
                // The name in the certificate.
                all.postgres_url = all.postgres_url.replace("127.0.0.1", "localhost");
            }
        }
        if let Some(redis) = &self.redis {
            all.redis_url = redis.url();
        }
        all
    }

    /// The server with this name in metrics and logs.
    pub(crate) fn named(&self, name: &str) -> Option<&Server> {
        match name {
            "Kafka" => Some(self.kafka()),
            "PostgreSQL" => Some(self.postgres()),
            "Redis" => Some(self.redis()),
            _ => None,
        }
    }

    pub(crate) fn kafka(&self) -> &Kafka {
        self.kafka.as_ref().unwrap()
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().unwrap()
    }

    pub(crate) fn redis(&self) -> &Redis {
        self.redis.as_ref().unwrap()
    }
}

pub(crate) async fn direct(redis: &str) -> MultiplexedConnection {
    // On a busy machine an answer may take longer than the client's default of half a second.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(TEST_TIMEOUT));
    redis::Client::open(redis).unwrap().get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

pub(crate) async fn ask(redis: &mut MultiplexedConnection, command: &[&str]) -> RedisResult<redis::Value> {
    let [name, arguments @ ..] = command else { panic!("no command") };
    redis::cmd(name).arg(arguments).query_async(redis).await
}
