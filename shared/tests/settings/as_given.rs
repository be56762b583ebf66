//! Tests each setting of a binary with typical values of environment variables: with spaces and line feeds around the
//! value, empty, and in another case; and each number and duration outside its bounds. The settings come from clap's
//! own list, so that none is forgotten. A module of both services' tests.

use std::ffi::OsString;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use shared::placements::objects::FilesUrl;
use shared::runtime::config::{AccessLog, LogFormat, Secret};
use shared::store::Pooler;

/// Settings whose value may contain spaces at its ends: only a line feed at the end is removed.
const EXACT: [&str; 7] = [
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "INTERNAL_JWT_SECRET",
    "INTERNAL_JWT_SECRET_PREVIOUS",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
    "KAFKA_SSL_KEY_PASSWORD",
];

/// Settings for which 0 is a valid value.
const NOTHING_IS_GOOD: [&str; 6] = [
    "DRAIN_DELAY",
    "DRAIN_TIMEOUT",
    "HELD_REQUESTS_MAX",
    "KAFKA_LINGER",
    "RATE_LIMIT_EVENTS_PER_SECOND",
    "RATE_LIMIT_READS_PER_SECOND",
];

/// Settings in bytes, for which four billion is a valid value.
const BYTES: [&str; 3] = ["MAX_BYTES_IN_FLIGHT", "MAX_BYTES_IN_HAND", "KAFKA_QUEUE_BYTES"];

/// A valid value for each setting.
fn good(variable: &str) -> &'static str {
    match variable {
        "API_BIND" | "OPS_BIND" => "127.0.0.1:8001",
        "KAFKA_BROKERS" => "b:9092",
        "KAFKA_SECURITY_PROTOCOL" => "SASL_SSL",
        "KAFKA_SASL_MECHANISM" => "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME"
        | "KAFKA_SASL_OAUTHBEARER_CLIENT_ID"
        | "KAFKA_SASL_OAUTHBEARER_SCOPE"
        | "KAFKA_GROUP"
        | "KAFKA_INPUT_TOPIC"
        | "KAFKA_DLQ_TOPIC"
        | "KAFKA_ADS_GROUP"
        | "KAFKA_ADS_TOPIC"
        | "KAFKA_ADS_DLQ_TOPIC"
        | "KAFKA_READ_MODEL_GROUP"
        | "KAFKA_FILES_GROUP"
        | "KAFKA_VALIDATOR_GROUP"
        | "KAFKA_DOMAIN_TOPIC"
        | "KAFKA_DOMAIN_DLQ_TOPIC"
        | "CACHE_KEY_PREFIX"
        | "API_DOMAINS"
        | "JWT_ISSUER"
        | "JWT_AUDIENCE"
        | "OTEL_SERVICE_NAME"
        | "EMF_NAMESPACE" => "a-name",
        exact if EXACT.contains(&exact) => "a secret with blanks in it, long enough",
        "KAFKA_SSL_CA_LOCATION"
        | "KAFKA_SSL_CERTIFICATE_LOCATION"
        | "KAFKA_SSL_KEY_LOCATION"
        | "REDIS_TLS_CA"
        | "JWT_JWKS_FILE" => "/etc/a file",
        "KAFKA_SSL_CA_PEM" | "KAFKA_SSL_CERTIFICATE_PEM" | "KAFKA_SSL_KEY_PEM" => {
            "-----BEGIN -----\nAA==\n-----END -----"
        }
        "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL" => "https://h/token",
        "KAFKA_SASL_OAUTHBEARER_EXTENSIONS" | "KAFKA_PROPERTIES" => "a=b,c=d",
        "FILES_URL" => "s3://bucket/a prefix",
        "VALIDATION_URL" => "http://h:8000",
        "DATABASE_URL" => "postgres://u:p@h/d",
        "REDIS_URL" | "AD_REDIS_URL" => "redis://h",
        "ADS_ANONYMOUS_ROLES" => "advertiser, tracker",
        "JWT_JWKS_URL" => "https://h/jwks",
        "JWT_SECRET_ALGORITHM" => "HS512",
        "JWT_AUDIENCE_CLAIM" | "JWT_SUBJECT_CLAIM" | "JWT_ROLES_CLAIM" | "JWT_DEVICES_CLAIM" => "/a/b,c.d,e:f",
        "JWT_ROLES_MAP" => "theirs=admin",
        "JWT_REQUIRED_CLAIMS" => "token_use=access",
        "CORS_ORIGINS" => "https://h:8443, localhost",
        "WEBHOOK_ALLOWED_ORIGINS" => "eventgrid.azure.net",
        "REDIS_CLUSTER" | "JWT_ALLOW_SHORT_SECRET" | "JWT_JWKS_ALLOW_HTTP" => "true",
        "JWT_DEVICE_BINDING" => "claimed",
        "TOPIC_COMPRESSION" => "producer",
        "DATABASE_POOLER" => "transaction",
        "LOG_FORMAT" => "pretty",
        "RUST_LOG" => "warn,worker_service=debug",
        "ACCESS_LOG" => "0.5",
        "MAX_BYTES_IN_FLIGHT" | "MAX_BYTES_IN_HAND" => "20000000",
        "KAFKA_QUEUE_BYTES" => "2048",
        "MAX_CONNECTIONS"
        | "BODY_MIN_RATE"
        | "DATABASE_MAX_CONNECTIONS"
        | "TOPIC_PARTITIONS"
        | "TOPIC_REPLICATION"
        | "TOPIC_MIN_INSYNC_REPLICAS"
        | "RATE_LIMIT_EVENTS_PER_SECOND"
        | "RATE_LIMIT_BURST"
        | "RATE_LIMIT_READS_PER_SECOND"
        | "RATE_LIMIT_READ_BURST"
        | "OUTBOX_MAX_ROWS"
        | "OUTBOX_BATCH_ROWS"
        | "HELD_REQUESTS_MAX" => "7",
        "REQUEST_TIMEOUT"
        | "BODY_TIMEOUT"
        | "WRITE_TIMEOUT"
        | "KEEP_ALIVE_TIMEOUT"
        | "DRAIN_DELAY"
        | "DRAIN_TIMEOUT"
        | "KAFKA_MESSAGE_TIMEOUT"
        | "KAFKA_LINGER"
        | "CACHE_TTL"
        | "JWT_JWKS_REFRESH"
        | "EMF_INTERVAL" => "1m 3s",
        "DATABASE_TIMEOUT" | "REDIS_TIMEOUT" | "VALIDATION_TIMEOUT" => "3s 500ms",
        "EVENTS_RETENTION"
        | "ADS_EVENTS_RETENTION"
        | "INBOX_RETENTION"
        | "IDEMPOTENCY_RETENTION"
        | "FILES_RETENTION"
        | "VALIDATIONS_RETENTION" => "40days 3s",
        "WORKER_ONLY" => "devices",
        "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://h:4318",
        "OTEL_EXPORTER_OTLP_HEADERS" | "OTEL_EXPORTER_OTLP_TRACES_HEADERS" | "OTEL_RESOURCE_ATTRIBUTES" => "a=b",
        "OTEL_EXPORTER_OTLP_PROTOCOL" => "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT" => "250",
        "OTEL_TRACES_EXPORTER" => "none",
        "OTEL_TRACES_SAMPLER" => "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG" => "0.5",
        "OTEL_SDK_DISABLED" => "true",
        number if number.starts_with("OTEL_BSP_") || number.starts_with("OTEL_SPAN_") => "64",
        new => panic!("a new setting, {new}: which value does it take, and what does docs/settings.md say of it?"),
    }
}

/// Tests each setting of each command of a binary. `needed` returns a command's required arguments without a variable,
/// by the command's name; `others` formats values of the binary's own types.
pub(crate) fn each_means_the_same(
    binary: &Command,
    needed: &dyn Fn(&str) -> &'static [&'static str],
    others: &dyn Fn(&ArgMatches, &str) -> Option<String>,
) -> usize {
    let mut tried = 0;
    let mut commands = vec![(vec![binary.get_name().to_owned()], binary.clone())];
    while let Some((path, command)) = commands.pop() {
        let path_of = |below: &Command| [&path[..], &[below.get_name().to_owned()]].concat();
        commands.extend(command.get_subcommands().map(|below| (path_of(below), below.clone())));
        let leaf = Leaf { binary, path, needed: needed(command.get_name()), command, others };
        for arg in leaf.command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            leaf.try_each_form(arg);
            leaf.try_bounds(arg);
            tried += 1;
        }
    }
    tried
}

struct Leaf<'a> {
    binary: &'a Command,
    path: Vec<String>,
    needed: &'static [&'static str],
    command: Command,
    others: &'a dyn Fn(&ArgMatches, &str) -> Option<String>,
}

fn variable(arg: &Arg) -> &str {
    arg.get_env().and_then(|name| name.to_str()).unwrap()
}

impl Leaf<'_> {
    /// The parsed value as text, or the error.
    fn parse(&self, arg: &Arg, value: &str) -> Result<String, String> {
        let mut line: Vec<OsString> = self.path.iter().map(OsString::from).collect();
        let required = |other: &&Arg| other.get_env().is_some() && other.is_required_set();
        for other in self.command.get_arguments().filter(required).filter(|other| other.get_id() != arg.get_id()) {
            line.push(format!("--{}={}", other.get_long().unwrap(), good(variable(other))).into());
        }
        line.push(format!("--{}={value}", arg.get_long().unwrap()).into());
        line.extend(self.needed.iter().map(OsString::from));
        let matches = self.binary.clone().try_get_matches_from(line).map_err(|error| error.to_string())?;
        let mut matches = &matches;
        while let Some((_, below)) = matches.subcommand() {
            matches = below;
        }
        let id = arg.get_id().as_str();
        let secret = matches.try_get_one::<Secret>(id).ok().flatten().map(|secret| secret.expose().to_owned());
        let shown = secret
            .or_else(|| matches.try_get_one::<String>(id).ok().flatten().cloned())
            .or_else(|| of::<bool>(matches, id))
            .or_else(|| of::<u32>(matches, id))
            .or_else(|| of::<i32>(matches, id))
            .or_else(|| of::<u64>(matches, id))
            .or_else(|| of::<usize>(matches, id))
            .or_else(|| of::<Duration>(matches, id))
            .or_else(|| of::<SocketAddr>(matches, id))
            .or_else(|| of::<PathBuf>(matches, id))
            .or_else(|| of::<LogFormat>(matches, id))
            .or_else(|| of::<Pooler>(matches, id))
            .or_else(|| of::<AccessLog>(matches, id))
            .or_else(|| of::<FilesUrl>(matches, id))
            .or_else(|| (self.others)(matches, id));
        Ok(shown.unwrap_or_else(|| panic!("{id} has a type that this test does not know")))
    }

    fn try_each_form(&self, arg: &Arg) {
        let name = variable(arg);
        let value = good(name);
        let plain = self.parse(arg, value).unwrap();
        for end in ["\n", "\r\n", "\n\n"] {
            assert_eq!(self.parse(arg, &format!("{value}{end}")).unwrap(), plain, "{name} with a line feed behind it");
        }
        let is_exact = EXACT.contains(&name);
        for (before, behind) in [(" ", ""), ("", " "), ("\t", " \n"), ("\n", "")] {
            let around = format!("{before}{value}{behind}");
            let expected = if is_exact { around.trim_end_matches('\n') } else { &plain };
            assert_eq!(self.parse(arg, &around).unwrap(), expected, "{name} as {around:?}");
        }
        let is_foreign = name.starts_with("OTEL_") || name == "RUST_LOG";
        for empty in ["", "\n", " ", " \t\r\n"] {
            let parsed = self.parse(arg, empty);
            if is_exact && empty.starts_with(' ') {
                assert!(parsed.is_ok(), "{name}: blanks count");
            } else if is_foreign {
                let unset = if name == "RUST_LOG" { "info" } else { "" };
                assert_eq!(parsed.unwrap(), unset, "{name}");
            } else {
                let said = parsed.unwrap_err();
                assert!(said.contains(&format!("{name} is empty: set it, or leave it out")), "{name}: {said}");
            }
        }
        for possible in arg.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
            let possible = possible.get_name();
            let expected = self.parse(arg, possible).unwrap();
            for other in [possible.to_lowercase(), possible.to_uppercase(), format!(" {}\n", possible.to_uppercase())] {
                let parsed = self.parse(arg, &other).unwrap();
                // A setting that stays text is read later, in any case.
                assert!(parsed.eq_ignore_ascii_case(&expected), "{name} as {other:?}: {parsed}");
            }
        }
    }

    /// Absurd values are rejected with the setting's name.
    fn try_bounds(&self, arg: &Arg) {
        let name = variable(arg);
        let is_number = good(name).parse::<u64>().is_ok();
        let is_time = good(name).starts_with(|c: char| c.is_ascii_digit()) && good(name).ends_with('s');
        if name.starts_with("OTEL_") || !(is_number || is_time) {
            return;
        }
        let mut beyond = match is_number {
            true => vec!["-1", "18446744073709551615", "18446744073709551616"],
            false => vec!["-1s", "1000000years", "584542046090years"],
        };
        if is_number && !BYTES.contains(&name) {
            beyond.extend(["2147483647", "4294967295"]);
        }
        if !NOTHING_IS_GOOD.contains(&name) {
            beyond.push(if is_number { "0" } else { "0s" });
        }
        for value in beyond {
            let said = self.parse(arg, value).err().unwrap_or_else(|| panic!("{name}={value} is taken"));
            assert!(said.contains(name), "{name}={value}: {said}");
        }
        self.try_documented_bounds(arg, if is_time { "1000000years" } else { "9999999999999" });
    }

    /// The bounds in `--help` are accepted, and a value beyond the maximum is rejected.
    fn try_documented_bounds(&self, arg: &Arg, too_much: &str) {
        let name = variable(arg);
        let said = self.parse(arg, too_much).unwrap_err();
        let (least, most) = bounds(&said).unwrap_or_else(|| panic!("{name}: which bounds? {said}"));
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let from_nothing = (least == "0" || least == "0s") && help.contains(&format!("up to {most}"));
        assert!(
            from_nothing || help.contains(&format!("{least} to {most}")),
            "{name} takes {least} to {most}, and its help is: {help}"
        );
        for taken in [&least, &most] {
            self.parse(arg, taken).unwrap_or_else(|said| panic!("{name}={taken}: {said}"));
        }
        let beyond = match most.parse::<u64>() {
            Ok(most) => (most + 1).to_string(),
            Err(_) => format!("{most} 1ns"),
        };
        assert!(self.parse(arg, &beyond).is_err(), "{name}={beyond} is taken");
    }
}

/// The minimum and the maximum from an error message, ours or clap's.
fn bounds(said: &str) -> Option<(String, String)> {
    if let Some((_, told)) = said.split_once("it must be from ") {
        let (least, most) = told.lines().next()?.split_once(" to ")?;
        return Some((least.to_owned(), most.to_owned()));
    }
    let (_, told) = said.split_once("is not in ")?;
    let (least, most) = told.lines().next()?.split_once("..")?;
    Some((least.to_owned(), most.trim_start_matches('=').to_owned()))
}

/// The argument's value as text, if it has one of this type.
pub(crate) fn of<T: Debug + Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<String> {
    matches.try_get_one::<T>(id).ok().flatten().map(|value| format!("{value:?}"))
}
