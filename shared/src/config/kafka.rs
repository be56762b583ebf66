//! Where Kafka is, and who we are there.

use clap::builder::PossibleValuesParser;

use super::{Secret, text, trimmed};

/// The connection to Kafka.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaConfig {
    /// Bootstrap servers, separated by commas.
    #[arg(id = "kafka-brokers", long, value_name = "KAFKA_BROKERS", env = "KAFKA_BROKERS", value_parser = text())]
    pub brokers: String,
    /// How to talk to the brokers; certificates and host names are always verified.
    #[arg(id = "kafka-security-protocol", long, value_name = "KAFKA_SECURITY_PROTOCOL", env = "KAFKA_SECURITY_PROTOCOL", default_value = "PLAINTEXT",
          value_parser = trimmed(PossibleValuesParser::new(["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])))]
    pub security_protocol: String,
    /// How to log in, where the protocol is one with SASL.
    #[arg(id = "kafka-sasl-mechanism", long, value_name = "KAFKA_SASL_MECHANISM", env = "KAFKA_SASL_MECHANISM", default_value = "PLAIN",
          value_parser = trimmed(PossibleValuesParser::new(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])))]
    pub sasl_mechanism: String,
    /// The SASL user; for Confluent Cloud, the API key.
    #[arg(id = "kafka-sasl-username", long, value_name = "KAFKA_SASL_USERNAME", env = "KAFKA_SASL_USERNAME", value_parser = text())]
    pub sasl_username: Option<String>,
    /// The SASL password; for Confluent Cloud, the API secret.
    #[arg(
        id = "kafka-sasl-password",
        long,
        value_name = "KAFKA_SASL_PASSWORD",
        env = "KAFKA_SASL_PASSWORD",
        hide_env_values = true
    )]
    pub sasl_password: Option<Secret>,
    /// A file with the certificate authorities to trust, instead of the system's.
    #[arg(id = "kafka-ssl-ca-location", long, value_name = "KAFKA_SSL_CA_LOCATION", env = "KAFKA_SSL_CA_LOCATION", value_parser = text())]
    pub ssl_ca_location: Option<String>,
}

/// The names of the topics.
#[derive(Debug, Clone, clap::Args)]
pub struct TopicConfig {
    /// The topic of accepted events.
    #[arg(
        id = "kafka-input-topic",
        long,
        value_name = "KAFKA_INPUT_TOPIC",
        env = "KAFKA_INPUT_TOPIC",
        default_value = "events-input",
        value_parser = text()
    )]
    pub input: String,
    /// The topic of dead letters.
    #[arg(
        id = "kafka-dlq-topic",
        long,
        value_name = "KAFKA_DLQ_TOPIC",
        env = "KAFKA_DLQ_TOPIC",
        default_value = "events-dlq",
        value_parser = text()
    )]
    pub dlq: String,
}
