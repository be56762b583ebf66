//! What every Kafka client of ours has in common: where the brokers are, and how to log in.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::KafkaConfig;

/// A client's configuration, to be completed by its owner.
///
/// # Errors
/// One clear line where the settings contradict each other.
pub fn client(config: &KafkaConfig) -> anyhow::Result<ClientConfig> {
    let protocol = config.security_protocol.to_ascii_uppercase();
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("security.protocol", &protocol)
        // A broker that is back is found within a second, not within ten.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true");
    if protocol.starts_with("SASL") {
        let (Some(username), Some(password)) = (&config.sasl_username, &config.sasl_password) else {
            anyhow::bail!("KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD");
        };
        client
            .set("sasl.mechanisms", config.sasl_mechanism.to_ascii_uppercase())
            .set("sasl.username", username)
            .set("sasl.password", password.expose());
    } else if config.sasl_username.is_some() || config.sasl_password.is_some() {
        anyhow::bail!("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD need KAFKA_SECURITY_PROTOCOL=SASL_SSL");
    }
    if protocol.ends_with("SSL") {
        // Both are the defaults; said here so that nobody has to look them up.
        client.set("enable.ssl.certificate.verification", "true").set("ssl.endpoint.identification.algorithm", "https");
        if let Some(location) = &config.ssl_ca_location {
            client.set("ssl.ca.location", location);
        }
    }
    Ok(client)
}

/// How long an administrative question may take.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
