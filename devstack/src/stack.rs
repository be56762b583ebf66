//! Three servers that belong together.

use std::thread;

use anyhow::Context as _;

use crate::dir::StackDir;
use crate::{Endpoints, Kafka, Postgres, Redis, port};

/// The ports that servers should have, where these are free; without a wish, any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// Kafka's; the mock takes no wishes.
    pub kafka: Option<u16>,
    /// PostgreSQL's.
    pub postgres: Option<u16>,
    /// Redis's.
    pub redis: Option<u16>,
}

impl Ports {
    /// Those that everyone knows: 9092, 5432 and 6379.
    pub fn well_known() -> Ports {
        Ports { kafka: Some(9092), postgres: Some(5432), redis: Some(6379) }
    }
}

/// Servers of one's own. Dropped, it ends them and removes their data, unless `DEVSTACK_KEEP` is
/// set: then it says where the data is (of containers, the logs only).
#[derive(Debug)]
pub struct Stack {
    /// Kafka.
    pub kafka: Kafka,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// Redis.
    pub redis: Redis,
    // Last, so that it goes last.
    dir: StackDir,
}

impl Stack {
    /// Starts all three side by side on free ports; returns when each answers.
    pub fn start() -> anyhow::Result<Stack> {
        Stack::start_on(Ports::default())
    }

    /// The same with a secured listener of Kafka's beside the usual one, and this password for it; see
    /// [`Kafka::secured`].
    pub fn start_secured(password: &str) -> anyhow::Result<Stack> {
        Stack::start_as(Ports::default(), Some(password))
    }

    /// The same as [`start`](Stack::start) on these ports, as far as they are free.
    pub fn start_on(ports: Ports) -> anyhow::Result<Stack> {
        Stack::start_as(ports, None)
    }

    fn start_as(ports: Ports, secured: Option<&str>) -> anyhow::Result<Stack> {
        crate::announce();
        let dir = StackDir::create()?;
        let path = dir.path();
        let (kafka, postgres, redis) = thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start_in(path, port::prefer(ports.kafka), secured));
            let postgres = scope.spawn(|| Postgres::start_in(path, port::prefer(ports.postgres)));
            let redis = Redis::start_in(path, port::prefer(ports.redis));
            (kafka.join(), postgres.join(), redis)
        });
        Ok(Stack {
            kafka: kafka.ok().context("starting Kafka panicked")??,
            postgres: postgres.ok().context("starting PostgreSQL panicked")??,
            redis: redis?,
            dir,
        })
    }

    /// Where the servers are.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            kafka_brokers: self.kafka.brokers().to_owned(),
            postgres_url: self.postgres.url(),
            redis_url: self.redis.url(),
            kafka_is_real: self.kafka.is_real(),
        }
    }

    /// The servers that ended by themselves, with the last lines of their logs.
    pub fn casualties(&self) -> Vec<(&'static str, String)> {
        [("Kafka", &*self.kafka), ("PostgreSQL", &*self.postgres), ("Redis", &*self.redis)]
            .into_iter()
            .filter(|(_, server)| !server.is_running())
            .map(|(name, server)| (name, server.log()))
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let servers = [&*self.kafka, &*self.postgres, &*self.redis];
        let keep = self.dir.is_kept();
        thread::scope(|scope| {
            for server in servers {
                scope.spawn(move || {
                    if keep {
                        let _ = server.stop();
                    } else {
                        server.discard();
                    }
                });
            }
        });
        self.kafka.keep_classes();
    }
}
