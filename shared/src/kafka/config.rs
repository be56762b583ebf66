//! Where Kafka is, and who we are there.

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use crate::runtime::config::{Secret, text, trimmed};

/// The connection to Kafka.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaConfig {
    /// Bootstrap servers, `host:port`, separated by commas.
    #[arg(long, env, value_parser = trimmed(brokers))]
    pub kafka_brokers: String,
    /// How to talk to the brokers; certificates and host names are always verified.
    #[arg(long, env, default_value = "PLAINTEXT",
          value_parser = trimmed(PossibleValuesParser::new(["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])))]
    pub kafka_security_protocol: String,
    /// How to log in, where the protocol is one with SASL; `PLAIN` where this is not set.
    #[arg(long, env, value_parser = trimmed(PossibleValuesParser::new(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])))]
    pub kafka_sasl_mechanism: Option<String>,
    /// The SASL user; for Confluent Cloud, the API key.
    #[arg(long, env, value_parser = text())]
    pub kafka_sasl_username: Option<String>,
    /// The SASL password; for Confluent Cloud, the API secret.
    #[arg(long, env, hide_env_values = true)]
    pub kafka_sasl_password: Option<Secret>,
    /// A file with the certificate authorities to trust, instead of the system's.
    #[arg(long, env, value_parser = text())]
    pub kafka_ssl_ca_location: Option<String>,
}

/// The names of the topics: two of them.
#[derive(Debug, Clone)]
pub struct TopicConfig {
    /// The topic of accepted events.
    pub input: String,
    /// The topic of dead letters.
    pub dlq: String,
}

/// As they are given.
#[derive(Debug, clap::Args)]
#[group(id = "TopicConfig")]
struct TopicNames {
    /// The topic of accepted events.
    #[arg(long, env, default_value = "events-input", value_parser = trimmed(topic_name))]
    kafka_input_topic: String,
    /// The topic of dead letters, another one.
    #[arg(long, env, default_value = "events-dlq", value_parser = trimmed(topic_name))]
    kafka_dlq_topic: String,
}

/// Servers as librdkafka takes them, each with its port. It leaves out what it cannot read and says so in its own log
/// alone, and of a list of nothing it only says that all brokers are down.
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
    // The protocol that some tools put before it is checked when the client is made, against the one that is set.
    let address = entry.split_once("://").map_or(entry, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return Err("has no port") };
    // A colon of an IPv6 address is none before a port.
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

/// Kafka's own rule. A name that begins with `^` would be a pattern to librdkafka.
pub(crate) fn topic_name(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=249).contains(&text.len()) || !text.chars().all(known) || text == "." || text == ".." {
        return Err("it must be the name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -, and neither . nor ..".to_owned());
    }
    Ok(text.to_owned())
}

impl Args for TopicConfig {
    fn augment_args(command: Command) -> Command {
        TopicNames::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        TopicNames::augment_args_for_update(command)
    }
}

// By hand, so that no command and no service goes without the check.
impl FromArgMatches for TopicConfig {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let TopicNames { kafka_input_topic: input, kafka_dlq_topic: dlq } = TopicNames::from_arg_matches(matches)?;
        if input == dlq {
            // A dead letter would be read as an event, and become another one.
            let message = format!("KAFKA_INPUT_TOPIC and KAFKA_DLQ_TOPIC are the same topic, {input}: set two\n");
            return Err(Error::raw(ErrorKind::ArgumentConflict, message));
        }
        Ok(Self { input, dlq })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The consumer group.
#[derive(Debug, Clone, clap::Args)]
pub struct GroupConfig {
    /// The consumer group.
    #[arg(
        id = "kafka-group",
        long,
        value_name = "KAFKA_GROUP",
        env = "KAFKA_GROUP",
        default_value = "events-processor",
        value_parser = trimmed(group_name)
    )]
    pub group: String,
}

/// The log of events, and who reads it.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceConfig {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The topics.
    #[command(flatten)]
    pub topics: TopicConfig,
    /// The group.
    #[command(flatten)]
    pub group: GroupConfig,
}

/// Kafka takes any name; one of several lines in its tools and in our log is a mistake.
const LONGEST_GROUP: usize = 249;

fn group_name(text: &str) -> Result<String, String> {
    let is_good = text.len() <= LONGEST_GROUP && !text.chars().any(char::is_control);
    if is_good { Ok(text.to_owned()) } else { Err("it must be 1 to 249 bytes, and no control characters".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Topics {
        #[command(flatten)]
        topics: TopicConfig,
    }

    fn topics(input: &str, dlq: &str) -> Result<TopicConfig, String> {
        let args = ["test".to_owned(), format!("--kafka-input-topic={input}"), format!("--kafka-dlq-topic={dlq}")];
        Topics::try_parse_from(args).map(|all| all.topics).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topic_has_a_name_that_kafka_takes() {
        let longest = "n".repeat(249);
        for good in ["a", "A-Z_a.z-09", "...", "__x", &longest] {
            assert_eq!(topics(good, "letters").unwrap().input, good);
            assert_eq!(topics("events", good).unwrap().dlq, good);
        }
        let too_long = "n".repeat(250);
        for bad in ["^events-.*", ".", "..", "a b", "a/b", "a:b", "é", "a,b", "a\u{0}", &too_long] {
            for (said, setting) in
                [(topics(bad, "letters"), "KAFKA_INPUT_TOPIC"), (topics("events", bad), "KAFKA_DLQ_TOPIC")]
            {
                let said = said.unwrap_err();
                assert!(said.contains(setting) && said.contains("it must be the name of a topic"), "{bad}: {said}");
            }
        }
    }

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

    #[test]
    fn events_and_dead_letters_have_topics_of_their_own() {
        for same in ["a", "events-input", "events-dlq"] {
            let said = topics(same, same).unwrap_err();
            assert!(said.contains("KAFKA_INPUT_TOPIC and KAFKA_DLQ_TOPIC are the same topic"), "{said}");
        }
        let said = Topics::try_parse_from(["test", "--kafka-input-topic=events-dlq"]).unwrap_err().to_string();
        assert!(said.contains("are the same topic, events-dlq"), "the other is a default: {said}");
        assert_eq!(Topics::try_parse_from(["test"]).unwrap().topics.input, "events-input");
    }
}
