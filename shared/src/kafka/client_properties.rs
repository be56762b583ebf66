//! `KAFKA_PROPERTIES`: further properties of librdkafka, for every client of both services.
//!
//! librdkafka itself says whether a name exists and a value is possible. What a promise rests on, and what has a setting
//! of its own, is refused by name: [`REFUSED`] has each such property with the reason.

use anyhow::{anyhow, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Where a reason is the name of a setting, that setting is to be used instead.
const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "KAFKA_BROKERS"),
    (&["security.protocol"], "KAFKA_SECURITY_PROTOCOL"),
    (&["sasl.mechanism", "sasl.mechanisms", "sasl.oauthbearer.method"], "KAFKA_SASL_MECHANISM"),
    (&["sasl.username"], "KAFKA_SASL_USERNAME"),
    (&["sasl.password"], "KAFKA_SASL_PASSWORD"),
    (&["sasl.oauthbearer.token.endpoint.url"], "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"),
    (
        &["sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"],
        "KAFKA_SASL_OAUTHBEARER_CLIENT_ID",
    ),
    (
        &["sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"],
        "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
    ),
    (&["sasl.oauthbearer.scope"], "KAFKA_SASL_OAUTHBEARER_SCOPE"),
    (&["sasl.oauthbearer.extensions"], "KAFKA_SASL_OAUTHBEARER_EXTENSIONS"),
    (&["ssl.ca.location"], "KAFKA_SSL_CA_LOCATION"),
    (&["ssl.ca.pem"], "KAFKA_SSL_CA_PEM"),
    (&["ssl.certificate.location"], "KAFKA_SSL_CERTIFICATE_LOCATION"),
    (&["ssl.certificate.pem"], "KAFKA_SSL_CERTIFICATE_PEM"),
    (&["ssl.key.location"], "KAFKA_SSL_KEY_LOCATION"),
    (&["ssl.key.pem"], "KAFKA_SSL_KEY_PEM"),
    (&["ssl.key.password"], "KAFKA_SSL_KEY_PASSWORD"),
    (&["group.id"], "KAFKA_GROUP"),
    (&["message.timeout.ms", "delivery.timeout.ms"], "KAFKA_MESSAGE_TIMEOUT"),
    (&["linger.ms", "queue.buffering.max.ms"], "KAFKA_LINGER"),
    (&["queue.buffering.max.kbytes", "queue.buffering.max.messages"], "KAFKA_QUEUE_BYTES"),
    (&["log_level", "log.queue"], "RUST_LOG"),
    (&["compression.codec"], "its name here is compression.type"),
    (
        &["enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm"],
        "certificates and host names are always verified",
    ),
    (&["ssl.cipher.suites"], "some cipher suites verify no certificate; those of the system's OpenSSL are used"),
    (&["enable.sasl.oauthbearer.unsecure.jwt"], "it would log in with tokens that nobody signed"),
    (
        &["plugin.library.paths", "ssl.engine.location", "ssl.engine.id", "ssl.providers"],
        "it would load foreign code into the service",
    ),
    (&["sasl.kerberos.kinit.cmd"], "it would run a command"),
    (&["internal.termination.signal"], "such a signal would end the service"),
    (
        &["acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee", "transactional.id"],
        "a 202 means that all in-sync replicas have the event, once",
    ),
    (&["transaction.timeout.ms"], "readers of what a dead relay left open wait for as long"),
    (
        &["delivery.report.only.error", "produce.offset.report", "enabled_events"],
        "a 202 needs the report of each delivery",
    ),
    (
        &["test.mock.num.brokers", "test.mock.broker.rtt"],
        "a 202 means that Kafka has the event, and not a broker inside this process",
    ),
    (
        &["retries", "message.send.max.retries", "max.in.flight", "max.in.flight.requests.per.connection"],
        "the order and the outcome of events rest on how the idempotent producer retries",
    ),
    (&["queuing.strategy"], "events of one key stay in order"),
    (
        &["partitioner", "topic.metadata.refresh.interval.ms", "topic.metadata.propagation.max.ms", "topic.blacklist"],
        "all writers have to send a key's events to the same partition",
    ),
    (&["allow.auto.create.topics"], "only `worker-service setup` creates topics"),
    (
        &["api.version.request", "api.version.fallback.ms", "broker.version.fallback"],
        "the records' headers and the idempotent producer need the brokers' current protocol",
    ),
    (
        &["message.max.bytes", "batch.size", "batch.num.messages"],
        "the sizes of records and batches follow the topic's own limits",
    ),
    (
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ],
        "an offset is committed only after its event is applied or is a dead letter",
    ),
    (
        &["auto.offset.reset", "isolation.level", "enable.partition.eof", "check.crcs"],
        "every committed event is read, and no other",
    ),
    (
        &[
            "partition.assignment.strategy",
            "group.instance.id",
            "group.protocol",
            "group.protocol.type",
            "group.remote.assignor",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
        ],
        "the takeover of a worker's partitions rests on it",
    ),
    (
        &[
            "queued.min.messages",
            "queued.max.messages.kbytes",
            "fetch.message.max.bytes",
            "max.partition.fetch.bytes",
            "fetch.max.bytes",
            "fetch.queue.backoff.ms",
            "fetch.wait.max.ms",
            "fetch.error.backoff.ms",
            "receive.message.max.bytes",
        ],
        "the worker's bounds on memory and delay rest on it",
    ),
    (&["statistics.interval.ms"], "the metrics of the queues come from it"),
];

/// The properties of a list, in its order; each was accepted by librdkafka. An error names the property, never a value
/// that may be secret.
pub(super) fn parse(list: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut properties: Vec<(String, String)> = Vec::new();
    for (place, entry) in entries(list).iter().enumerate() {
        let Some((name, value)) = entry.split_once('=') else {
            bail!("entry {} is no name=value; a comma in a value is written `\\,`", place + 1);
        };
        let (name, value) = (name.trim(), value.trim());
        // Anything else may be a part of a secret with a comma, and librdkafka would repeat it.
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_';
        ensure!(!name.is_empty() && name.chars().all(is_name), "entry {} has no name of a property", place + 1);
        ensure!(!value.is_empty(), "{name} has no value");
        ensure!(!properties.iter().any(|(known, _)| known == name), "{name} is there twice");
        if let Some(reason) = refusal(name) {
            bail!("{name} cannot be set here: {reason}");
        }
        ClientConfig::new().set(name, value).create_native_config().map_err(in_its_own_words)?;
        properties.push((name.to_owned(), value.to_owned()));
    }
    Ok(properties)
}

/// Splits at commas that have no backslash before them.
fn entries(list: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    let mut continues = false;
    for piece in list.split(',') {
        let (text, more) = piece.strip_suffix('\\').map_or((piece, false), |text| (text, true));
        match entries.last_mut() {
            Some(last) if continues => last.extend([",", text]),
            _ => entries.push(text.to_owned()),
        }
        continues = more;
    }
    if continues && let Some(last) = entries.last_mut() {
        last.push('\\');
    }
    entries
}

fn refusal(name: &str) -> Option<String> {
    // librdkafka takes the properties of a topic with this prefix, too.
    let bare = name.strip_prefix("topic.").unwrap_or(name);
    let (_, reason) = REFUSED.iter().find(|(names, _)| names.contains(&name) || names.contains(&bare))?;
    let is_setting = reason.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    Some(if is_setting { format!("it has a setting of its own, {reason}") } else { (*reason).to_owned() })
}

/// librdkafka's message. That of [`KafkaError`] itself would repeat the value.
fn in_its_own_words(error: KafkaError) -> anyhow::Error {
    match error {
        KafkaError::ClientConfig(_, said, ..) => anyhow!(said),
        other => anyhow!(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;
    use rdkafka::bindings::RD_KAFKA_VERSION;

    use super::*;

    fn error(list: &str) -> String {
        parse(list).unwrap_err().to_string()
    }

    #[test]
    fn a_list_has_names_and_values_and_commas_behind_a_backslash() {
        let parsed = parse("client.rack = use1-az1, debug=broker\\,topic ,\n https.ca.pem=-----BEGIN\nAA==\n").unwrap();
        let expected = [("client.rack", "use1-az1"), ("debug", "broker,topic"), ("https.ca.pem", "-----BEGIN\nAA==")];
        assert_eq!(parsed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (bad, says) in [
            ("debug=broker,topic", "entry 2 is no name=value; a comma in a value is written `\\,`"),
            ("client.rack=a,", "entry 2 is no name=value; a comma in a value is written `\\,`"),
            ("=a", "entry 1 has no name of a property"),
            ("client.rack=a,Sec,ret=b", "entry 2 is no name=value; a comma in a value is written `\\,`"),
            ("client.rack=a,Secret=b", "entry 2 has no name of a property"),
            ("client.rack= ", "client.rack has no value"),
            ("client.rack=a,client.rack=b", "client.rack is there twice"),
        ] {
            assert_eq!(error(bad), says, "{bad}");
        }
    }

    #[test]
    fn an_unknown_name_or_value_is_refused_in_librdkafkas_own_words() {
        for (bad, says) in [
            ("client.rak=a", r#"No such configuration property: "client.rak""#),
            ("socket.timeout.ms=9", r#"Configuration property "socket.timeout.ms" value 9 is outside allowed range"#),
            ("socket.timeout.ms=soon", r#"Invalid value for configuration property "socket.timeout.ms""#),
            ("client.dns.lookup=all", r#"Invalid value "all" for configuration property "client.dns.lookup""#),
            ("log.connection.close=perhaps", r#"Expected bool value for "log.connection.close""#),
            ("dr_cb=x", r#"Property "dr_cb" must be set through dedicated"#),
        ] {
            let said = error(bad);
            assert!(said.starts_with(says) && said.lines().count() == 1, "{bad}: {said}");
        }
    }

    #[test]
    fn what_a_promise_rests_on_is_refused_by_name() {
        for (names, reason) in REFUSED {
            for name in *names {
                for list in [format!("{name}=1"), format!("client.rack=a,topic.{name}=1")] {
                    let said = error(&list);
                    assert!(said.contains(&format!("{name} cannot be set here: ")) && said.contains(reason), "{said}");
                }
            }
        }
        assert_eq!(
            error("acks=1"),
            "acks cannot be set here: a 202 means that all in-sync replicas have the event, once"
        );
        assert_eq!(error("group.id=g"), "group.id cannot be set here: it has a setting of its own, KAFKA_GROUP");
    }

    /// Each refused name is one of librdkafka's: a misspelt one would protect nothing.
    #[test]
    fn each_refused_name_exists() {
        let unknown = |name: &str| match ClientConfig::new().set(name, "\u{1}").create_native_config() {
            Ok(_) => false,
            Err(error) => error.to_string().contains("No such configuration property"),
        };
        assert!(unknown("no.such.property"));
        for name in REFUSED.iter().flat_map(|(names, _)| *names) {
            assert!(!unknown(name), "{name}");
        }
    }

    /// A property that our code sets after these, unseen by the operator, would undo theirs without a word.
    #[test]
    fn whatever_the_services_set_themselves_is_refused() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut set = BTreeSet::new();
        for folder in ["shared/src", "api-service/src", "worker-service/src"] {
            collect(&root.join(folder), &mut set);
        }
        assert!(set.len() > 30, "{set:?}");
        // `client` sets these before those of the list.
        let before =
            ["reconnect.backoff.ms", "reconnect.backoff.max.ms", "socket.nagle.disable", "socket.keepalive.enable"];
        let open: Vec<_> =
            set.iter().filter(|name| refusal(name).is_none() && !before.contains(&name.as_str())).collect();
        assert!(open.is_empty(), "refuse these in REFUSED, or set them with `set_default`: {open:?}");
    }

    /// The first arguments of `.set("…"` in these sources, which look like properties.
    fn collect(path: &Path, set: &mut BTreeSet<String>) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), set));
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && path.file_stem().is_none_or(|name| name != "tests")
        {
            let source = fs::read_to_string(path).unwrap();
            let product = source.split("\nmod tests {").next().unwrap();
            let first = |rest: &str| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned());
            set.extend(product.split(".set(").skip(1).filter_map(first));
        }
    }

    #[test]
    fn the_list_of_refused_properties_was_read_against_this_librdkafka() {
        // Before you change this number: read what is new in its CONFIGURATION.md.
        assert_eq!(RD_KAFKA_VERSION, 0x020c_01ff);
    }

    proptest! {
        /// No list makes it panic, and no refused name gets through, however it is hidden among others.
        #[test]
        fn no_refused_property_gets_through(
            before in prop::sample::select(vec!["", "client.rack=a,", "debug=broker\\,topic,", "client.rack=a\\,", "\\,", ","]),
            name in prop::sample::select(vec!["acks", "topic.acks", "group.id", "ssl.key.pem", "test.mock.num.brokers"]),
            blank in "[ \t\n]{0,3}",
            behind in "(,[a-z.=, \\\\]{0,30})?",
        ) {
            if let Ok(parsed) = parse(&format!("{before}{blank}{name}{blank}=0{behind}")) {
                prop_assert_eq!(before, "client.rack=a\\,", "only there it is a part of a value");
                prop_assert!(parsed.iter().all(|(known, _)| known != name));
            }
        }

        #[test]
        fn entries_are_what_was_joined(values in prop::collection::vec("[a-z=, ]{1,8}", 1..5)) {
            let list: Vec<_> = values.iter().map(|value| value.replace(',', "\\,")).collect();
            prop_assert_eq!(entries(&list.join(",")), values);
        }
    }
}
