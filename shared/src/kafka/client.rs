//! The configuration that all our Kafka clients share: broker addresses and login.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::bindings::RD_KAFKA_VERSION;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;
use rdkafka::{ClientConfig, ClientContext};
use tokio::task::spawn_blocking;

use super::client_log::{LogContext, log};
use super::{client_properties, client_security};
use crate::kafka::{Detached, KafkaConfig};
use crate::runtime::lifecycle::no_result;

/// A consumer that only logs: it needs no callbacks for rebalances or commits.
pub type PlainConsumer = Detached<BaseConsumer<LogContext>>;

/// The common configuration of a client; the caller adds its own settings.
pub fn client(config: &KafkaConfig) -> anyhow::Result<ClientConfig> {
    is_ours(rdkafka::util::get_rdkafka_version())?;
    let protocol = config.kafka_security_protocol.to_ascii_uppercase();
    // librdkafka ignores a broker with another protocol, and reports that only in its log.
    let named = config.kafka_brokers.split(',').filter_map(|entry| entry.split_once("://"));
    if let Some((other, _)) = named.into_iter().find(|(named, _)| !named.eq_ignore_ascii_case(&protocol)) {
        anyhow::bail!("KAFKA_BROKERS names {other}://, and KAFKA_SECURITY_PROTOCOL is {protocol}");
    }
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.kafka_brokers)
        // Only `worker-service setup` creates topics. Otherwise a producer's metadata request would create a missing
        // or misspelt topic with the broker's defaults.
        .set("allow.auto.create.topics", "false")
        .set("security.protocol", &protocol)
        // Reconnect within 1 s after a broker is back; the default is up to 10 s.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true");
    if let Some(list) = &config.kafka_properties {
        client.extend(client_properties::parse(list.expose()).context("KAFKA_PROPERTIES")?);
    }
    client_security::set_login(&mut client, config, &protocol)?;
    client_security::set_tls(&mut client, &config.tls, &protocol)?;
    Ok(client)
}

/// Sets a property, unless `KAFKA_PROPERTIES` has set it.
pub fn set_default(client: &mut ClientConfig, name: &str, value: &str) {
    if client.get(name).is_none() {
        client.set(name, value);
    }
}

/// Fails if the linked librdkafka is not the version that this was compiled with: `client_headers` depends on the
/// memory layout of a header, which is not a part of librdkafka's interface.
fn is_ours((linked, name): (i32, String)) -> anyhow::Result<()> {
    let [major, minor, revision, _] = RD_KAFKA_VERSION.to_be_bytes();
    anyhow::ensure!(
        linked == RD_KAFKA_VERSION,
        "librdkafka {name} is linked, and this was compiled with {major}.{minor}.{revision}"
    );
    Ok(())
}

/// Whether a broker acknowledged a record whose delivery report has this offset.
///
/// librdkafka reports success without an offset if it only concludes that a record was written: a later batch was
/// acknowledged, or the broker took the batch for a duplicate. It assumes that a broker rejects a batch after a gap in
/// the producer's sequence. That is false while the broker does not know the producer yet: when a broker starts, it can
/// reject the first batch and accept the second.
pub const fn is_acknowledged(offset: i64) -> bool {
    offset >= 0
}

/// Whether a batch is larger than the topic's `max.message.bytes` or `segment.bytes`.
pub const fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}

/// Whether the topic does not exist, according to librdkafka or the broker.
pub const fn is_without_topic(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
}

#[derive(Debug)]
pub(super) struct Reached {
    pub(super) brokers: Vec<i32>,
    /// The names of the topics that this user may see.
    pub(super) topics: BTreeSet<String>,
}

/// Asks Kafka for its brokers and topics. An admin client reports only a timeout; this reports the cause, such as a
/// wrong password.
pub(super) async fn reach(client: &ClientConfig) -> anyhow::Result<Reached> {
    let client = client.clone();
    spawn_blocking(move || reach_now(&client)).await.map_err(no_result)?
}

/// More events than a client has by then: the first error is among them.
const MAX_EVENTS: usize = 1_000;

fn reach_now(client: &ClientConfig) -> anyhow::Result<Reached> {
    let consumer: Detached<BaseConsumer<Complaint>> =
        client.create_with_context(Complaint::default()).context("cannot create a Kafka client")?;
    let error = match consumer.fetch_metadata(None, ADMIN_TIMEOUT) {
        Ok(metadata) => {
            let brokers = metadata.brokers().iter().map(MetadataBroker::id).collect();
            let topics = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
            return Ok(Reached { brokers, topics });
        }
        Err(error) => error,
    };
    // Nothing else polls this client, so its callbacks run here. A poll may end after each line of its log.
    for _ in 0..MAX_EVENTS {
        if consumer.context().0.get().is_some() {
            break;
        }
        drop(consumer.poll(Duration::ZERO));
    }
    let why = consumer.context().0.get().cloned().unwrap_or_else(|| error.to_string());
    anyhow::bail!("Kafka cannot be reached: {why}")
}

/// The first error of a client. The last one is often just "all brokers down".
#[derive(Default)]
struct Complaint(OnceLock<String>);

impl ClientContext for Complaint {
    fn log(&self, level: RDKafkaLogLevel, what: &str, detail: &str) {
        log(level, what, detail);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.0.get_or_init(|| reason.to_owned());
    }
}

impl ConsumerContext for Complaint {}

/// The timeout of an administrative request.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    type Settings = crate::runtime::config::Only<KafkaConfig>;

    fn with(more: &[&str]) -> anyhow::Result<ClientConfig> {
        let args = ["test", "--kafka-brokers=b:1"].iter().chain(more);
        client(&Settings::try_parse_from(args).unwrap().settings)
    }

    #[test]
    fn certificates_and_host_names_are_always_verified() {
        for protocol in ["SSL", "sasl_ssl"] {
            let protocol = format!("--kafka-security-protocol={protocol}");
            let mut settings = vec![protocol.as_str()];
            if protocol.contains("sasl") {
                settings.extend(["--kafka-sasl-username=u", "--kafka-sasl-password=p"]);
            }
            let client = with(&settings).unwrap();
            assert_eq!(client.get("enable.ssl.certificate.verification"), Some("true"));
            assert_eq!(client.get("ssl.endpoint.identification.algorithm"), Some("https"));
        }
        let settings = <Settings as clap::CommandFactory>::command().render_long_help().to_string().to_lowercase();
        for word in ["insecure", "skip", "no-verify", "verification"] {
            assert!(!settings.contains(word), "there is no setting that turns it off: {word}");
        }
    }

    #[test]
    fn another_librdkafka_is_refused_by_name() {
        is_ours(rdkafka::util::get_rdkafka_version()).unwrap();
        let error = is_ours((0x020d_00ff, "2.13.0".to_owned())).unwrap_err().to_string();
        assert_eq!(error, "librdkafka 2.13.0 is linked, and this was compiled with 2.12.1");
    }

    #[test]
    fn no_client_makes_a_topic() {
        assert_eq!(with(&[]).unwrap().get("allow.auto.create.topics"), Some("false"));
    }

    #[test]
    fn further_properties_come_from_the_environment_and_undo_no_promise() {
        let client = with(&["--kafka-properties=reconnect.backoff.max.ms=5000, client.rack=use1-az1"]).unwrap();
        assert_eq!(client.get("client.rack"), Some("use1-az1"));
        assert_eq!(client.get("reconnect.backoff.max.ms"), Some("5000"), "ours is only a default");
        let line = |list: &str| format!("{:#}", with(&[&format!("--kafka-properties={list}")]).unwrap_err());
        assert_eq!(line("client.rak=a"), r#"KAFKA_PROPERTIES: No such configuration property: "client.rak""#);
        assert!(line("acks=0").starts_with("KAFKA_PROPERTIES: acks cannot be set here: "));
        assert!(line("sasl.password=planted").ends_with("it has a setting of its own, KAFKA_SASL_PASSWORD"));
        // A name may stand in front of a secret that has no place here.
        for secret in ["planted", "no.such.name=planted", "ssl.keystore.password=ok,planted"] {
            assert!(!line(secret).contains("planted"), "{secret}");
        }
        let args = ["test", "--kafka-brokers=b:1", "--kafka-properties=ssl.keystore.password=planted"];
        let settings = Settings::try_parse_from(args).unwrap();
        assert!(!format!("{settings:?}").contains("planted"));
    }

    #[test]
    fn a_default_gives_way() {
        let mut client = with(&["--kafka-properties=compression.type=zstd"]).unwrap();
        set_default(&mut client, "compression.type", "lz4");
        set_default(&mut client, "client.id", "us");
        assert_eq!((client.get("compression.type"), client.get("client.id")), (Some("zstd"), Some("us")));
    }
}
