//! The private resources of one test on shared servers.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::logs::PLANTED;
use crate::{Endpoints, endpoints, postgres};

/// A test's own database, and unique names. The topics are not created.
#[derive(Debug, Clone)]
pub struct Scope {
    pub endpoints: Endpoints,
    /// An empty database.
    pub database_url: String,
    pub input_topic: String,
    pub dlq_topic: String,
    pub group: String,
    pub ads_topic: String,
    pub ads_dlq_topic: String,
    pub ads_group: String,
    pub domain_topic: String,
    pub domain_dlq_topic: String,
    pub read_model_group: String,
    pub files_group: String,
    pub validator_group: String,
    /// A folder of its own, which does not exist yet.
    pub files_url: String,
    /// The prefix of its Redis keys.
    pub cache_prefix: String,
}

/// Adds a password that the server ignores: it is a marker that must not appear in any log.
fn with_password(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{user}:{PLANTED}@{host}")
}

impl Scope {
    /// A scope on the servers that this process's tests share.
    pub fn new(name: &str) -> anyhow::Result<Scope> {
        Scope::on(endpoints(), name)
    }

    /// A scope on these servers. The name helps people to recognise it; it need not be unique.
    pub fn on(endpoints: &Endpoints, name: &str) -> anyhow::Result<Scope> {
        let name = unique(name);
        Ok(Scope {
            database_url: with_password(&postgres::create_database(&endpoints.postgres_url, &name)?, "postgres"),
            endpoints: Endpoints { redis_url: with_password(&endpoints.redis_url, "default"), ..endpoints.clone() },
            input_topic: format!("{name}-input"),
            dlq_topic: format!("{name}-dlq"),
            group: format!("{name}-group"),
            ads_topic: format!("{name}-ads"),
            ads_dlq_topic: format!("{name}-ads-dlq"),
            ads_group: format!("{name}-ads-group"),
            domain_topic: format!("{name}-domain"),
            domain_dlq_topic: format!("{name}-domain-dlq"),
            read_model_group: format!("{name}-read-model"),
            files_group: format!("{name}-files"),
            validator_group: format!("{name}-validator"),
            files_url: format!("file://{}/{name}-files", crate::target_dir().join("devstack").display()),
            cache_prefix: format!("{name}:"),
        })
    }

    /// The settings of a service in this scope.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("KAFKA_BROKERS", &self.endpoints.kafka_brokers),
            ("KAFKA_INPUT_TOPIC", &self.input_topic),
            ("KAFKA_DLQ_TOPIC", &self.dlq_topic),
            ("KAFKA_GROUP", &self.group),
            ("KAFKA_ADS_TOPIC", &self.ads_topic),
            ("KAFKA_ADS_DLQ_TOPIC", &self.ads_dlq_topic),
            ("KAFKA_ADS_GROUP", &self.ads_group),
            ("KAFKA_DOMAIN_TOPIC", &self.domain_topic),
            ("KAFKA_DOMAIN_DLQ_TOPIC", &self.domain_dlq_topic),
            ("KAFKA_READ_MODEL_GROUP", &self.read_model_group),
            ("KAFKA_FILES_GROUP", &self.files_group),
            ("KAFKA_VALIDATOR_GROUP", &self.validator_group),
            ("FILES_URL", &self.files_url),
            ("DATABASE_URL", &self.database_url),
            ("REDIS_URL", &self.endpoints.redis_url),
            ("CACHE_KEY_PREFIX", &self.cache_prefix),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .chain(one_node())
        .collect()
    }
}

/// The settings of `worker-service setup` for a Kafka with a single node.
pub fn one_node() -> [(String, String); 2] {
    ["TOPIC_REPLICATION", "TOPIC_MIN_INSYNC_REPLICAS"].map(|key| (key.to_owned(), "1".to_owned()))
}

/// A unique name that is valid for a database (at most 63 bytes) and a topic.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).take(32).collect();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{plain}_{}_{count}_{:06x}", std::process::id(), fastrand::u32(..0x100_0000))
}

#[cfg(test)]
mod tests {
    use super::unique;

    #[test]
    fn names_are_plain_short_and_never_the_same() {
        let name = unique("A test: with spaces, and much longer than PostgreSQL would have it");
        assert!(name.starts_with("a_test__with_spaces__and_much_lo_"));
        assert!(name.len() < 60);
        assert_ne!(unique("one"), unique("one"));
    }
}
