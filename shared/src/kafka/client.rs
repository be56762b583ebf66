//! What every Kafka client of ours has in common: where the brokers are, and how to log in.

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
use crate::kafka::KafkaConfig;
use crate::runtime::lifecycle::no_result;

/// A consumer without a group of its own to look after, or with nothing to do in one.
pub type PlainConsumer = BaseConsumer<LogContext>;

/// A client's configuration, to be completed by its owner.
pub fn client(config: &KafkaConfig) -> anyhow::Result<ClientConfig> {
    is_ours(rdkafka::util::get_rdkafka_version())?;
    let protocol = config.kafka_security_protocol.to_ascii_uppercase();
    // librdkafka leaves out a broker that is named with another protocol, and says so in its log alone.
    let named = config.kafka_brokers.split(',').filter_map(|entry| entry.split_once("://"));
    if let Some((other, _)) = named.into_iter().find(|(named, _)| !named.eq_ignore_ascii_case(&protocol)) {
        anyhow::bail!("KAFKA_BROKERS names {other}://, and KAFKA_SECURITY_PROTOCOL is {protocol}");
    }
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.kafka_brokers)
        // `worker-service setup` makes topics, and nobody else: a producer's question would make one that is missing
        // or misspelt, with a broker's own settings.
        .set("allow.auto.create.topics", "false")
        .set("security.protocol", &protocol)
        // A broker that is back is found within a second, not within ten.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true");
    if protocol.starts_with("SASL") {
        let (Some(username), Some(password)) = (&config.kafka_sasl_username, &config.kafka_sasl_password) else {
            anyhow::bail!("KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD");
        };
        client
            .set("sasl.mechanisms", config.kafka_sasl_mechanism.as_deref().unwrap_or("PLAIN").to_ascii_uppercase())
            .set("sasl.username", username)
            .set("sasl.password", password.expose());
    } else if config.kafka_sasl_username.is_some() || config.kafka_sasl_password.is_some() {
        anyhow::bail!("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD need KAFKA_SECURITY_PROTOCOL=SASL_SSL");
    } else if config.kafka_sasl_mechanism.is_some() {
        anyhow::bail!("KAFKA_SASL_MECHANISM needs KAFKA_SECURITY_PROTOCOL=SASL_SSL: without it there is no login");
    }
    if protocol.ends_with("SSL") {
        // Both are the defaults; said here so that nobody has to look them up.
        client.set("enable.ssl.certificate.verification", "true").set("ssl.endpoint.identification.algorithm", "https");
        if let Some(location) = &config.kafka_ssl_ca_location {
            client.set("ssl.ca.location", location);
        }
    } else if config.kafka_ssl_ca_location.is_some() {
        anyhow::bail!("KAFKA_SSL_CA_LOCATION needs KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL: {protocol} has no TLS");
    }
    Ok(client)
}

/// Whether the librdkafka that is linked is the one that this was compiled with: how it lays out a header is not a part
/// of its interface.
fn is_ours((linked, name): (i32, String)) -> anyhow::Result<()> {
    let [major, minor, revision, _] = RD_KAFKA_VERSION.to_be_bytes();
    anyhow::ensure!(
        linked == RD_KAFKA_VERSION,
        "librdkafka {name} is linked, and this was compiled with {major}.{minor}.{revision}"
    );
    Ok(())
}

/// Whether a record with this offset in its delivery report was acknowledged by a broker.
///
/// librdkafka reports success without an offset where it only concludes that a record was written: a later batch was
/// acknowledged, or the broker took it for one that it has. Brokers refuse a batch behind a gap in its producer's sequence,
/// it reasons. They do not where they know nothing of that producer yet: of two first batches the one may have been refused,
/// while a broker starts, and the other taken.
pub const fn is_acknowledged(offset: i64) -> bool {
    offset >= 0
}

/// Whether a batch is larger than the topic's `max.message.bytes`, or than its `segment.bytes`.
pub const fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}

/// Whether the topic is not there, as librdkafka or the broker says it.
pub const fn is_without_topic(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
}

#[derive(Debug)]
pub(super) struct Reached {
    pub(super) brokers: Vec<i32>,
    /// The topics' names, as far as this user may know of them.
    pub(super) topics: BTreeSet<String>,
}

/// Asks Kafka for its brokers and topics: what an administrative client is told of a failure is that time was up, and an
/// operator wants to know that the password is wrong.
pub(super) async fn reach(client: &ClientConfig) -> anyhow::Result<Reached> {
    let client = client.clone();
    spawn_blocking(move || reach_now(&client)).await.map_err(no_result)?
}

fn reach_now(client: &ClientConfig) -> anyhow::Result<Reached> {
    let consumer: BaseConsumer<Complaint> =
        client.create_with_context(Complaint::default()).context("cannot create a Kafka client")?;
    let error = match consumer.fetch_metadata(None, ADMIN_TIMEOUT) {
        Ok(metadata) => {
            let brokers = metadata.brokers().iter().map(MetadataBroker::id).collect();
            let topics = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
            return Ok(Reached { brokers, topics });
        }
        Err(error) => error,
    };
    // Nobody else takes what the client has to say.
    while consumer.poll(Duration::ZERO).is_some() {}
    let why = consumer.context().0.get().cloned().unwrap_or_else(|| error.to_string());
    anyhow::bail!("Kafka cannot be reached: {why}")
}

/// What a client met first. The last is often just that no broker is left.
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

/// How long an administrative question may take.
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
    fn half_a_login_is_one_clear_line() {
        let line = |more: &[&str]| with(more).unwrap_err().to_string();
        assert_eq!(
            line(&["--kafka-security-protocol=SASL_SSL", "--kafka-sasl-username=u"]),
            "KAFKA_SECURITY_PROTOCOL=SASL_SSL needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        );
        assert!(line(&["--kafka-sasl-username=u"]).contains("need KAFKA_SECURITY_PROTOCOL=SASL_SSL"));
    }

    #[test]
    fn what_the_protocol_leaves_unused_is_refused_by_name() {
        let login = ["--kafka-sasl-username=u", "--kafka-sasl-password=p", "--kafka-sasl-mechanism=PLAIN"];
        for (protocol, has_login, has_tls) in [
            ("PLAINTEXT", false, false),
            ("SSL", false, true),
            ("SASL_PLAINTEXT", true, false),
            ("SASL_SSL", true, true),
        ] {
            let protocol = format!("--kafka-security-protocol={protocol}");
            let needed = if has_login { &login[..2] } else { &[] };
            let of = |more: &[&str]| with(&[&[protocol.as_str()], needed, more].concat());
            of(&[]).unwrap();
            let told = of(&["--kafka-ssl-ca-location=/ca"]);
            assert_eq!(told.is_ok(), has_tls, "{protocol}");
            assert!(told.is_ok() || told.unwrap_err().to_string().contains("KAFKA_SSL_CA_LOCATION"));
            if has_login {
                of(&login[2..]).unwrap();
                continue;
            }
            for one in login {
                let name = one.split('=').next().unwrap().trim_start_matches("--").to_uppercase().replace('-', "_");
                let said = of(&[one]).unwrap_err().to_string();
                assert!(said.contains(&name), "{said}");
            }
        }
    }

    #[test]
    fn no_client_makes_a_topic() {
        assert_eq!(with(&[]).unwrap().get("allow.auto.create.topics"), Some("false"));
    }

    #[test]
    fn every_mechanism_is_built_in() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let mechanism = format!("--kafka-sasl-mechanism={mechanism}");
            let login = ["--kafka-security-protocol=SASL_SSL", "--kafka-sasl-username=u", "--kafka-sasl-password=p"];
            let mut client = with(&[&login[..], &[mechanism.as_str()]].concat()).unwrap();
            client.set("log_level", "0");
            client.create::<BaseConsumer>().unwrap();
        }
    }
}
