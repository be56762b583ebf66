//! Servers as containers of the official images, where devstack is built with its feature `containers`.

#[cfg(not(feature = "containers"))]
mod absent;
#[cfg(feature = "containers")]
mod docker;
#[cfg(feature = "containers")]
mod engine;

#[cfg(not(feature = "containers"))]
pub(crate) use self::absent::{Container, engine};
#[cfg(feature = "containers")]
pub(crate) use self::{docker::Container, engine::engine};

/// What `docker-compose.yml` has, too.
pub(crate) const POSTGRES: (&str, &str) = ("postgres", "17.11-bookworm");
/// Likewise.
pub(crate) const REDIS: (&str, &str) = ("redis", "7.4.11-bookworm");
/// Likewise; the version is that of `kafka/pom.xml`.
pub(crate) const KAFKA: (&str, &str) = ("apache/kafka", "4.3.1");

/// What a container is made from.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Name and tag.
    #[cfg_attr(not(feature = "containers"), expect(dead_code, reason = "what would be read is not built"))]
    pub(crate) image: (&'static str, &'static str),
    /// What is published on 127.0.0.1, and where it is inside.
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) env: Vec<(String, String)>,
    /// Instead of the image's own, where there is any.
    pub(crate) command: Vec<String>,
    /// Put inside before it starts.
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    /// The container whose network it shares.
    pub(crate) beside: Option<String>,
}

impl Plan {
    pub(crate) fn of(image: (&'static str, &'static str)) -> Plan {
        Plan { image, ports: vec![], env: vec![], command: vec![], files: vec![], beside: None }
    }
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
}
