//! A stack of the three servers.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::anyhow;

use crate::dir::StackDir;
use crate::logs::PLANTED;
use crate::process::asked;
use crate::server::{Casualty, Server};
use crate::{Endpoints, Kafka, Postgres, Redis, port};

/// The longest delay until the end of a server is noticed on a busy machine.
const SEEN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub kafka: u16,
    pub postgres: u16,
    pub redis: u16,
}

impl Ports {
    pub fn free() -> Ports {
        Ports { kafka: port::free(), postgres: port::free(), redis: port::free() }
    }
}

/// A server that answers, while others may still be starting.
#[derive(Debug, Clone, Copy)]
pub enum Up<'a> {
    Kafka(&'a Kafka),
    Postgres(&'a Postgres),
    Redis(&'a Redis),
}

/// Private servers. Dropping it stops them and removes their data, unless `DEVSTACK_KEEP` is set: then it
/// prints where the data is.
#[derive(Debug)]
pub struct Stack {
    pub kafka: Kafka,
    pub postgres: Postgres,
    pub redis: Redis,
}

impl Stack {
    /// Starts all three in parallel on free ports; returns when all answer.
    pub fn start() -> anyhow::Result<Stack> {
        Stack::start_as(Ports::free(), None, |_| Ok(()))
    }

    /// The same for the shared stack of tests: Kafka also has a secured listener; see [`Kafka::secured`].
    pub fn start_shared() -> anyhow::Result<Stack> {
        let secured = format!("{PLANTED}-kafka");
        let stack = Stack::start_as(Ports::free(), Some(&secured), |_| Ok(()))?;
        stack.kafka.hand_classes_on()?;
        Ok(stack)
    }

    /// The same as [`start`](Stack::start) on these ports, which must be free. As soon as a server answers,
    /// `then` is called with it on a separate thread.
    pub fn start_on(ports: Ports, then: impl Fn(Up<'_>) -> anyhow::Result<()> + Sync) -> anyhow::Result<Stack> {
        Stack::start_as(ports, None, then)
    }

    fn start_as(
        ports: Ports,
        secured: Option<&str>,
        then: impl Fn(Up<'_>) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<Stack> {
        let dir = StackDir::create()?;
        let told = |server: &Server, up: Up<'_>| then(up).map_err(|error| why(server, error));
        let (kafka, postgres, redis) = thread::scope(|scope| {
            let kafka = scope.spawn(|| {
                let kafka = Kafka::start_in(&dir, ports.kafka, secured)?;
                told(&kafka, Up::Kafka(&kafka)).map(|()| kafka)
            });
            let postgres = scope.spawn(|| {
                let postgres = Postgres::start_in(&dir, ports.postgres, None)?;
                told(&postgres, Up::Postgres(&postgres)).map(|()| postgres)
            });
            let redis = Redis::start_with(&dir, dir.path(), ports.redis, Vec::new());
            let redis = redis.and_then(|redis| told(&redis, Up::Redis(&redis)).map(|()| redis));
            (joined(kafka), joined(postgres), redis)
        });
        let stack = Stack { kafka: kafka?, postgres: postgres?, redis: redis? };
        match stack.casualties().first() {
            Some(casualty) => Err(anyhow!("{casualty}")),
            None => Ok(stack),
        }
    }

    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            kafka_brokers: self.kafka.brokers().to_owned(),
            postgres_url: self.postgres.url(),
            redis_url: self.redis.url(),
            kafka_secured: self.kafka.secured().cloned(),
        }
    }

    /// The servers that ended by themselves.
    pub fn casualties(&self) -> Vec<Casualty> {
        [&*self.kafka, &*self.postgres, &*self.redis].into_iter().filter_map(Server::casualty).collect()
    }
}

/// The reason for an error on a server: that the server has ended, if it has, or else the error.
fn why(server: &Server, error: anyhow::Error) -> anyhow::Error {
    // Clients notice the server's end a moment before its exit status is available here.
    let casualty = asked(SEEN, Duration::from_millis(20), || Ok(server.casualty()));
    casualty.ok().flatten().map_or(error, |casualty| anyhow!("{casualty}"))
}

fn joined<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("starting a server panicked")))
}

impl Drop for Stack {
    fn drop(&mut self) {
        let servers = [&*self.kafka, &*self.postgres, &*self.redis];
        thread::scope(|scope| servers.map(|server| scope.spawn(move || server.dismiss())).map(drop));
        self.kafka.keep_classes();
    }
}
