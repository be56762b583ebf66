//! What the servers are: processes of their own binaries, or containers of the official images.
//!
//! `DEVSTACK_SERVERS` (`processes`, `containers`) decides. Without it they are processes wherever their
//! binaries are, and containers where one is missing and a Docker engine answers; `docs/adr` says why.

use std::sync::{Once, OnceLock};

use anyhow::{Context as _, bail};

use crate::container::engine;
use crate::{kafka, postgres, spawn};

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Servers {
    /// Its own binary, a child of ours.
    Processes,
    /// A container of its official image, and why.
    Containers(&'static str),
}

/// What this process's servers are, decided once.
///
/// # Errors
/// They were asked for in a way that cannot be.
pub(crate) fn servers() -> anyhow::Result<Servers> {
    static SERVERS: OnceLock<Result<Servers, String>> = OnceLock::new();
    let decided = SERVERS.get_or_init(|| {
        let asked = std::env::var("DEVSTACK_SERVERS").unwrap_or_default();
        choose(&asked, missing, || engine().map(drop)).map_err(|error| format!("{error:#}"))
    });
    decided.clone().map_err(anyhow::Error::msg)
}

/// Whether they are containers.
///
/// # Errors
/// As [`servers`].
pub(crate) fn are_containers() -> anyhow::Result<bool> {
    Ok(servers()? != Servers::Processes)
}

fn choose(
    asked: &str,
    missing: impl FnOnce() -> Option<&'static str>,
    engine: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Servers> {
    match asked {
        "processes" => Ok(Servers::Processes),
        "containers" => {
            engine().context("DEVSTACK_SERVERS=containers")?;
            Ok(Servers::Containers("DEVSTACK_SERVERS=containers"))
        }
        // Without an engine, Kafka has a mock, and the others say what they miss.
        "" => match missing() {
            Some(missing) if engine().is_ok() => Ok(Servers::Containers(missing)),
            _ => Ok(Servers::Processes),
        },
        other => bail!("DEVSTACK_SERVERS is processes or containers, not {other}"),
    }
}

/// A server without a binary here.
fn missing() -> Option<&'static str> {
    if let (false, Some(obstacle)) = (kafka::mock_is_wanted(), kafka::obstacle()) {
        Some(obstacle)
    } else if postgres::bin_dir().is_err() {
        Some("no PostgreSQL server found")
    } else if spawn::in_path("redis-server").is_none() {
        Some("no redis-server found")
    } else {
        None
    }
}

/// Says, once in a process and on standard error, what the servers will be, and why.
pub fn announce() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mock = "Kafka is librdkafka's in-process mock, in memory; nothing survives a restart";
        match (servers(), kafka::mocked()) {
            (Ok(Servers::Processes), None) => eprintln!("devstack: Kafka, PostgreSQL and Redis are processes"),
            (Ok(Servers::Containers(why)), None) => {
                eprintln!("devstack: {why}: Kafka, PostgreSQL and Redis are containers");
            }
            (Ok(Servers::Processes), Some(why)) => eprintln!("devstack: {why}: {mock}"),
            (Ok(Servers::Containers(_)), Some(why)) => {
                eprintln!("devstack: {why}: {mock}; PostgreSQL and Redis are containers");
            }
            // Whoever starts a server is told.
            (Err(_), _) => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAVA: &str = "no Java found";

    fn chosen(asked: &str, missing: Option<&'static str>, engine: bool) -> Option<Servers> {
        let answer = || if engine { Ok(()) } else { bail!("nobody answers") };
        choose(asked, || missing, answer).ok()
    }

    #[test]
    fn an_engine_alone_is_no_reason_for_containers() {
        assert_eq!(chosen("", None, true), Some(Servers::Processes));
        assert_eq!(chosen("", Some(JAVA), true), Some(Servers::Containers(JAVA)));
        assert_eq!(chosen("", Some(JAVA), false), Some(Servers::Processes));
    }

    #[test]
    fn a_wish_decides_and_one_that_cannot_be_is_refused() {
        let asked = Servers::Containers("DEVSTACK_SERVERS=containers");
        assert_eq!(chosen("containers", None, true), Some(asked));
        assert_eq!(chosen("containers", Some(JAVA), false), None);
        assert_eq!(chosen("processes", Some(JAVA), true), Some(Servers::Processes));
        assert_eq!(chosen("container", None, true), None);
    }
}
