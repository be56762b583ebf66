//! The settings of the connection to Kafka.

use clap::builder::PossibleValuesParser;
use clap::value_parser;

use crate::runtime::config::{Secret, text, trimmed};

/// The connection to Kafka.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaConfig {
    /// Bootstrap servers, `host:port`, separated by commas.
    #[arg(long, env, value_parser = trimmed(brokers))]
    pub kafka_brokers: String,
    /// The protocol to the brokers; certificates and host names are always verified.
    #[arg(long, env, default_value = "PLAINTEXT",
          value_parser = trimmed(PossibleValuesParser::new(["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])))]
    pub kafka_security_protocol: String,
    /// The login mechanism, if the protocol has SASL; `PLAIN` if this is not set.
    #[arg(long, env, value_parser = trimmed(PossibleValuesParser::new(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])))]
    pub kafka_sasl_mechanism: Option<String>,
    /// The SASL user for `PLAIN` and `SCRAM`; for Confluent Cloud, the API key.
    #[arg(long, env, value_parser = text())]
    pub kafka_sasl_username: Option<String>,
    /// The SASL password; for Confluent Cloud, the API secret.
    #[arg(long, env, hide_env_values = true)]
    pub kafka_sasl_password: Option<Secret>,
    /// The login with `OAUTHBEARER`.
    #[command(flatten)]
    pub oauth_bearer: OAuthBearerConfig,
    /// Certificates.
    #[command(flatten)]
    pub tls: KafkaTlsConfig,
    /// Further properties of librdkafka, `name=value`, separated by commas; a comma in a value is written `\,`.
    #[arg(long, env, value_parser = trimmed(value_parser!(Secret)), hide_env_values = true)]
    pub kafka_properties: Option<Secret>,
}

/// The login with `OAUTHBEARER`: an access token of an OAuth 2.0 token endpoint, by client credentials.
#[derive(Debug, Clone, clap::Args)]
pub struct OAuthBearerConfig {
    /// For `OAUTHBEARER`: the issuer's token endpoint; https, or http on this machine.
    #[arg(long, env, value_parser = text(), hide_env_values = true)]
    pub kafka_sasl_oauthbearer_token_endpoint_url: Option<String>,
    /// For `OAUTHBEARER`: the client id.
    #[arg(long, env, value_parser = text())]
    pub kafka_sasl_oauthbearer_client_id: Option<String>,
    /// For `OAUTHBEARER`: the client secret.
    #[arg(long, env, hide_env_values = true)]
    pub kafka_sasl_oauthbearer_client_secret: Option<Secret>,
    /// For `OAUTHBEARER`: the scope to ask for, if the issuer needs one.
    #[arg(long, env, value_parser = text())]
    pub kafka_sasl_oauthbearer_scope: Option<String>,
    /// For `OAUTHBEARER`: SASL extensions, `key=value`, separated by commas; for Confluent Cloud
    /// `logicalCluster=lkc-…,identityPoolId=pool-…`.
    #[arg(long, env, value_parser = text())]
    pub kafka_sasl_oauthbearer_extensions: Option<String>,
}

/// Whom to trust, and the client's certificate (mutual TLS).
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaTlsConfig {
    /// A file with the certificate authorities to trust, instead of the system's.
    #[arg(long, env, value_parser = text())]
    pub kafka_ssl_ca_location: Option<String>,
    /// The certificate authorities themselves, as PEM, instead of a file.
    #[arg(long, env, value_parser = text())]
    pub kafka_ssl_ca_pem: Option<String>,
    /// A file with the client's certificate and its intermediates, as PEM.
    #[arg(long, env, value_parser = text())]
    pub kafka_ssl_certificate_location: Option<String>,
    /// The client's certificate itself, and its intermediates, as PEM.
    #[arg(long, env, value_parser = text())]
    pub kafka_ssl_certificate_pem: Option<String>,
    /// A file with the private key of the client's certificate, as PEM.
    #[arg(long, env, value_parser = text())]
    pub kafka_ssl_key_location: Option<String>,
    /// The private key itself, as PEM.
    #[arg(long, env, value_parser = trimmed(value_parser!(Secret)), hide_env_values = true)]
    pub kafka_ssl_key_pem: Option<Secret>,
    /// The password of the private key, if it is encrypted.
    #[arg(long, env, hide_env_values = true)]
    pub kafka_ssl_key_password: Option<Secret>,
}

/// Checks the broker list for librdkafka; each entry needs a port. librdkafka ignores an entry that it cannot parse and
/// reports that only in its log; for an empty list it reports only that all brokers are down.
fn brokers(text: &str) -> Result<String, String> {
    let each = text.split(',').map(str::trim).enumerate().map(|(place, entry)| {
        broker(entry).map_err(|why| format!("entry {} {why}: it must be host:port, separated by commas", place + 1))
    });
    Ok(each.collect::<Result<Vec<_>, _>>()?.join(","))
}

fn broker(entry: &str) -> Result<&str, &'static str> {
    if entry.is_empty() {
        return Err("is empty");
    }
    // Some tools put a protocol before the address. `client` compares it with KAFKA_SECURITY_PROTOCOL.
    let address = entry.split_once("://").map_or(entry, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return Err("has no port") };
    // A colon inside an IPv6 address does not start a port.
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or("has no port")?,
        None if host.contains(':') => return Err("has more than one colon, and no brackets around an IPv6 address"),
        None => host,
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/[]@;".contains(c)) {
        return Err("has no host");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(entry),
        _ => Err("has a port that is not from 1 to 65535"),
    }
}

/// Kafka's own rule for topic names. librdkafka would treat a name that begins with `^` as a pattern.
pub(crate) fn topic_name(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=249).contains(&text.len()) || !text.chars().all(known) || text == "." || text == ".." {
        return Err("it must be the name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -, and neither . nor ..".to_owned());
    }
    Ok(text.to_owned())
}

/// Kafka accepts any name; a very long one, or one with line breaks, is a mistake.
const LONGEST_GROUP: usize = 249;

pub(super) fn group_name(text: &str) -> Result<String, String> {
    let is_good = text.len() <= LONGEST_GROUP && !text.chars().any(char::is_control);
    if is_good { Ok(text.to_owned()) } else { Err("it must be 1 to 249 bytes, and no control characters".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_has_a_host_and_a_port() {
        for (good, taken) in [
            ("b:9092", "b:9092"),
            (" b-1.x:9092 , b_2:1,[::1]:65535", "b-1.x:9092,b_2:1,[::1]:65535"),
            ("SASL_SSL://pkc-1.eu.confluent.cloud:9092", "SASL_SSL://pkc-1.eu.confluent.cloud:9092"),
        ] {
            assert_eq!(brokers(good).as_deref(), Ok(taken));
        }
        for (bad, why) in [
            (",", "entry 1 is empty"),
            ("b:9092,", "entry 2 is empty"),
            ("b:9092, ,c:9092", "entry 2 is empty"),
            ("b", "entry 1 has no port"),
            ("b:9092,c", "entry 2 has no port"),
            ("[::1]", "entry 1 has no port"),
            ("::1", "entry 1 has more than one colon, and no brackets around an IPv6 address"),
            (":9092", "entry 1 has no host"),
            ("b c:9092", "entry 1 has no host"),
            ("b;c:9092", "entry 1 has no host"),
            ("b:9092;c:9092", "entry 1 has more than one colon, and no brackets around an IPv6 address"),
            ("b:0", "entry 1 has a port that is not from 1 to 65535"),
            ("b:65536", "entry 1 has a port that is not from 1 to 65535"),
            ("b:", "entry 1 has a port that is not from 1 to 65535"),
            ("b:kafka", "entry 1 has a port that is not from 1 to 65535"),
        ] {
            let said = brokers(bad).unwrap_err();
            assert_eq!(said, format!("{why}: it must be host:port, separated by commas"), "{bad}");
        }
    }
}
