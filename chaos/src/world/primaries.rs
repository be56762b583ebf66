//! Who is the primary of Redis and of PostgreSQL, while servers take over from each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use devstack::{Postgres, Proxy, Redis, Stack};

pub struct Primaries {
    /// Takes turns with the stack's Redis.
    redis: Redis,
    redis_is_second: AtomicBool,
    /// Took over from the stack's PostgreSQL.
    postgres: OnceLock<Postgres>,
    /// The harness' own way to PostgreSQL, which no fault touches.
    database: Proxy,
}

impl Primaries {
    /// Those of the stack are the primaries.
    pub fn start(stack: &Stack) -> anyhow::Result<Self> {
        Ok(Self {
            redis: Redis::start(&[])?,
            redis_is_second: AtomicBool::new(false),
            postgres: OnceLock::new(),
            database: Proxy::to(stack.postgres.port)?,
        })
    }

    /// Where the primary of PostgreSQL is reached for as long as the run lasts.
    pub fn database_port(&self) -> u16 {
        self.database.port
    }

    pub fn redis<'a>(&'a self, stack: &'a Stack) -> (&'a Redis, &'a Redis) {
        if self.redis_is_second.load(Ordering::SeqCst) {
            (&self.redis, &stack.redis)
        } else {
            (&stack.redis, &self.redis)
        }
    }

    /// Notes that the servers of Redis have changed roles.
    pub fn swap_redis(&self) {
        self.redis_is_second.fetch_xor(true, Ordering::SeqCst);
    }

    pub fn postgres<'a>(&'a self, stack: &'a Stack) -> &'a Postgres {
        self.postgres.get().unwrap_or(&stack.postgres)
    }

    /// Whether the stack's PostgreSQL has a successor.
    pub fn has_failed_over(&self) -> bool {
        self.postgres.get().is_some()
    }

    /// Notes who took over from the stack's PostgreSQL.
    pub fn fail_over_postgres(&self, successor: Postgres) {
        self.database.lead_to(successor.port);
        self.database.drop_connections();
        // A plan has it once at most.
        let _ = self.postgres.set(successor);
    }
}
