//! The servers that all tests share, as containers of the official images: `devstack exec` starts them if
//! `DEVSTACK_SERVERS` is `containers`. They use the host's network and the same settings as the processes.

use std::path::Path;
use std::time::Duration;

use testcontainers::core::WaitFor;
use testcontainers::runners::SyncRunner as _;
use testcontainers::{Container, ContainerRequest, GenericImage, ImageExt as _};

use crate::kafka::{JVM, Place};
use crate::postgres::SETTINGS;
use crate::{Endpoints, Ports, port};

/// The same version as in `docker-compose.yml`.
const POSTGRES: (&str, &str) = ("postgres", "17.11-bookworm");
/// Likewise.
const REDIS: (&str, &str) = ("redis", "7.4.11-bookworm");
/// Likewise, and as in `kafka/pom.xml`.
const KAFKA: (&str, &str) = ("apache/kafka", "4.3.1");
/// Includes the download of an image.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// As in `docker-compose.yml`: PostgreSQL needs more than a container's default of 64 MiB.
const SHARED_MEMORY: u64 = 128 << 20;

/// Three running containers. Dropping them removes them with their data. Tests cannot inject faults into them: such
/// a test starts its own servers, as processes.
#[derive(Debug)]
pub struct Containers {
    ports: Ports,
    _all: [Container<GenericImage>; 3],
}

impl Containers {
    /// Starts them one after the other; returns when all accept connections.
    pub fn start() -> anyhow::Result<Containers> {
        let ports = Ports::free();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>().into_iter();

        let redis = image(REDIS, WaitFor::message_on_stdout("Ready to accept connections"))
            .with_cmd(words(&["redis-server", "--bind", "127.0.0.1", "--port", &ports.redis.to_string(), "--save", ""]))
            .start()?;

        // On stdout the image logs the same message for a temporary server during initdb, which is not reachable.
        let postgres = image(POSTGRES, WaitFor::message_on_stderr("database system is ready to accept connections"))
            .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust")
            .with_env_var("POSTGRES_INITDB_ARGS", "--no-sync --encoding=UTF8 --locale=C")
            .with_cmd(
                words(&["postgres", "-c", "listen_addresses=127.0.0.1", "-p", &ports.postgres.to_string()])
                    .chain(SETTINGS.into_iter().flat_map(|setting| words(&["-c", setting]))),
            )
            .start()?;

        let place = Place { id: 1, port: ports.kafka, controller: port::free() };
        let mut kafka = image(KAFKA, WaitFor::message_on_stdout("Kafka Server started"));
        for (name, value) in environment(&place.properties(Path::new("/var/lib/kafka/data"), None)) {
            kafka = kafka.with_env_var(name, value);
        }
        let kafka = kafka.with_env_var("KAFKA_JVM_PERFORMANCE_OPTS", JVM.join(" ")).start()?;
        Ok(Containers { ports, _all: [redis, postgres, kafka] })
    }

    pub fn endpoints(&self) -> Endpoints {
        let Ports { kafka, postgres, redis } = self.ports;
        Endpoints {
            kafka_brokers: format!("127.0.0.1:{kafka}"),
            postgres_url: format!("postgres://postgres@127.0.0.1:{postgres}/postgres"),
            redis_url: format!("redis://127.0.0.1:{redis}"),
            kafka_secured: None,
        }
    }
}

fn image((name, tag): (&str, &str), ready: WaitFor) -> ContainerRequest<GenericImage> {
    let image = GenericImage::new(name, tag).with_wait_for(ready);
    image.with_network("host").with_shm_size(SHARED_MEMORY).with_startup_timeout(START_TIMEOUT)
}

/// A broker's settings as environment variables, the form that the image takes.
fn environment(properties: &str) -> impl Iterator<Item = (String, String)> {
    let settings = properties.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let variable = |setting: &str| setting.to_uppercase().replace('_', "__").replace('-', "___").replace('.', "_");
    settings.map(move |(name, value)| (format!("KAFKA_{}", variable(name)), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka;

    #[test]
    fn the_images_are_those_of_compose_and_kafka_is_the_one_that_runs_as_a_process() {
        let compose = include_str!("../../docker-compose.yml");
        for (name, tag) in [POSTGRES, REDIS, KAFKA] {
            assert!(compose.contains(&format!("image: {name}:{tag}\n")), "{name}:{tag}");
        }
        assert_eq!(KAFKA.1, kafka::version());
    }

    #[test]
    fn the_image_gives_each_setting_its_name_back() {
        let properties = "# none\nlog.dirs=/x\nlistener.name.secured.scram-sha-256=a b=\"c\"\n";
        let expected = [("KAFKA_LOG_DIRS", "/x"), ("KAFKA_LISTENER_NAME_SECURED_SCRAM___SHA___256", "a b=\"c\"")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment(properties).collect::<Vec<_>>(), expected);
    }
}
