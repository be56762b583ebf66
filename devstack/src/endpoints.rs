//! The servers' addresses, and the stack that all tests of a process share.

use std::sync::OnceLock;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{Secured, Stack};

/// The environment variable in which `devstack exec` passes its servers to the command.
pub(crate) const VARIABLE: &str = "DEVSTACK";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// `host:port`.
    pub kafka_brokers: String,
    /// The URL of the database `postgres`, as superuser.
    pub postgres_url: String,
    /// `redis://host:port`.
    pub redis_url: String,
    /// Kafka's secured listener, if it has one.
    pub kafka_secured: Option<Secured>,
}

impl Endpoints {
    /// The variable that passes these to a child's [`endpoints`].
    pub fn env(&self) -> anyhow::Result<(String, String)> {
        Ok((VARIABLE.to_owned(), serde_json::to_string(self)?))
    }
}

/// The servers that this process's tests share: those of the surrounding `devstack exec`, or else its own,
/// which the first call starts and which end with the process.
pub fn endpoints() -> &'static Endpoints {
    static SHARED: OnceLock<(Endpoints, Option<Stack>)> = OnceLock::new();
    let (endpoints, _) = SHARED.get_or_init(|| match shared() {
        Ok(shared) => shared,
        #[expect(clippy::panic, reason = "for tests, which cannot go on")]
        Err(error) => panic!("no servers: {error:#}"),
    });
    endpoints
}

fn shared() -> anyhow::Result<(Endpoints, Option<Stack>)> {
    match std::env::var(VARIABLE) {
        Ok(json) => {
            let endpoints = serde_json::from_str(&json).with_context(|| format!("{VARIABLE} is no JSON"))?;
            Ok((endpoints, None))
        }
        Err(_) => {
            let stack = Stack::start_shared()?;
            Ok((stack.endpoints(), Some(stack)))
        }
    }
}
