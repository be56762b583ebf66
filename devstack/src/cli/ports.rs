//! The ports of `devstack dev`: the well-known ones if they are free.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, TcpListener};

use anyhow::ensure;
use devstack::port;

use super::steps::say;

/// The ports that were asked for. One that is taken is an error; of the usual ones only the API's is, and
/// the others give way.
#[derive(clap::Args)]
pub(crate) struct Wanted {
    /// The port of the API, on 127.0.0.1.
    #[arg(long, env, default_value_t = 8000, value_parser = clap::value_parser!(u16).range(1..))]
    api_port: u16,
    /// Kafka's; 9092 where it is free.
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    kafka_port: Option<u16>,
    /// PostgreSQL's; 5432 where it is free.
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    postgres_port: Option<u16>,
    /// Redis's; 6379 where it is free.
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    redis_port: Option<u16>,
    /// That of the Redis for advertising's frequency caps; 6380 where it is free.
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    ad_redis_port: Option<u16>,
    /// The API's internal port, for metrics and health; 9100 where it is free.
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    api_ops_port: Option<u16>,
    /// The worker's; 9101 where it is free.
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    worker_ops_port: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) api: u16,
    pub(crate) servers: devstack::Ports,
    pub(crate) ad_redis: u16,
    pub(crate) api_ops: u16,
    pub(crate) worker_ops: u16,
}

impl Wanted {
    pub(crate) fn take(&self) -> anyhow::Result<Taken> {
        exact(self.api_port, "API_PORT")?;
        let others = [
            (self.kafka_port, 9092, "Kafka", "KAFKA_PORT"),
            (self.postgres_port, 5432, "PostgreSQL", "POSTGRES_PORT"),
            (self.redis_port, 6379, "Redis", "REDIS_PORT"),
            (self.ad_redis_port, 6380, "the Redis for frequency caps", "AD_REDIS_PORT"),
            (self.api_ops_port, 9100, "the API's internal port", "API_OPS_PORT"),
            (self.worker_ops_port, 9101, "the worker's internal port", "WORKER_OPS_PORT"),
        ];
        // Claim the requested ports first, so that no default takes one of them.
        for (wanted, _, _, variable) in others {
            wanted.map_or(Ok(()), |port| exact(port, variable))?;
        }
        let take = |(wanted, port, what, variable): (Option<u16>, u16, &str, &str)| {
            wanted.unwrap_or_else(|| usual(port, what, variable))
        };
        let [kafka, postgres, redis, ad_redis, api_ops, worker_ops] = others.map(take);
        let servers = devstack::Ports { kafka, postgres, redis };
        Ok(Taken { api: self.api_port, servers, ad_redis, api_ops, worker_ops })
    }
}

fn exact(port: u16, variable: &str) -> anyhow::Result<()> {
    ensure!(claim(port), "port {port} is in use; {variable}={} make dev takes another", port.saturating_add(1));
    Ok(())
}

fn usual(port: u16, what: &str, variable: &str) -> u16 {
    if claim(port) {
        return port;
    }
    let other = port::free();
    say(&format!("port {port} is in use: {what} is {other} ({variable} chooses)"));
    other
}

/// Claims a port of 127.0.0.1 if it is free there and on `::1`, to which `localhost` resolves first.
fn claim(port: u16) -> bool {
    let behind = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
    !behind.is_err_and(|error| error.kind() == ErrorKind::AddrInUse) && port::claim(port)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        wanted: Wanted,
    }

    fn take(arguments: &[&str]) -> anyhow::Result<Taken> {
        // Set every port explicitly: the test must not depend on other processes.
        let ports: Vec<_> = ["kafka", "postgres", "redis", "ad-redis", "api-ops", "worker-ops"]
            .iter()
            .filter(|name| !arguments.iter().any(|argument| argument.starts_with(&format!("--{name}-port"))))
            .map(|name| format!("--{name}-port={}", spare()))
            .collect();
        let all = ["dev"].into_iter().chain(arguments.iter().copied()).chain(ports.iter().map(String::as_str));
        Arguments::try_parse_from(all)?.wanted.take()
    }

    fn spare() -> u16 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_variable() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let each = [("api", "API_PORT"), ("ad-redis", "AD_REDIS_PORT"), ("worker-ops", "WORKER_OPS_PORT")];
        for (name, variable) in each {
            let api = format!("--api-port={}", spare());
            let mut arguments = vec![format!("--{name}-port={port}")];
            if name != "api" {
                arguments.push(api);
            }
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let error = take(&arguments).unwrap_err().to_string();
            assert_eq!(error, format!("port {port} is in use; {variable}={} make dev takes another", port + 1));
        }
    }

    #[test]
    fn nobody_gets_a_port_twice() {
        let port = spare();
        let (api, redis) = (format!("--api-port={port}"), format!("--redis-port={port}"));
        let error = take(&[&api, &redis]).unwrap_err().to_string();
        assert!(error.contains("REDIS_PORT="), "{error}");
        assert_ne!(usual(port, "it", "IT"), port);
    }

    #[test]
    fn what_listens_where_localhost_leads_first_is_in_the_way() {
        let Ok(taken) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            eprintln!("what_listens_where_localhost_leads_first_is_in_the_way cannot run here: there is no ::1");
            return;
        };
        assert!(!claim(taken.local_addr().unwrap().port()));
    }
}
