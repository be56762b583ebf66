//! OpenTelemetry's settings, read as its specification says: what cannot be understood or is not supported is warned
//! of, and the default counts.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;

use crate::config::{Secret, TraceConfig};

/// What becomes of the settings: how traces are sent, unless they are off, and what to warn of. No warning repeats a
/// value that may be a secret.
pub(super) fn read(config: &TraceConfig, environment: impl Iterator<Item = String>) -> (Option<Settings>, Vec<String>) {
    let mut warnings = Vec::new();
    if let Some(unsupported) = unsupported(environment) {
        warnings.push(unsupported);
    }
    let settings = settings(config, &mut warnings);
    (settings, warnings)
}

/// How traces are sent.
#[derive(Debug)]
pub(super) struct Settings {
    /// The collector's address for traces.
    pub(super) endpoint: String,
    /// As they are given; their values are decoded later.
    pub(super) headers: HashMap<String, String>,
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
    pub(super) service_name: Option<String>,
}

fn settings(config: &TraceConfig, warnings: &mut Vec<String>) -> Option<Settings> {
    let mut warn = |name: &str, what: &str| warnings.push(format!("{name} {what}"));
    let endpoint = given(config.endpoint.as_ref())?.trim_end_matches('/');
    match config.disabled.to_ascii_lowercase().as_str() {
        "true" => return None,
        "false" | "" => {}
        _ => warn("OTEL_SDK_DISABLED", "is neither true nor false: it counts as false"),
    }
    match config.exporter.to_ascii_lowercase().as_str() {
        "none" => return None,
        "otlp" | "" => {}
        _ => warn("OTEL_TRACES_EXPORTER", "is neither otlp nor none: it counts as otlp"),
    }
    if !matches!(config.protocol.to_ascii_lowercase().as_str(), "http/protobuf" | "") {
        warn("OTEL_EXPORTER_OTLP_PROTOCOL", "is not http/protobuf, which is used instead");
    }
    let is_url = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !reqwest::Url::parse(endpoint).is_ok_and(|url| is_url(&url)) {
        warn("OTEL_EXPORTER_OTLP_ENDPOINT", "is not an http or https URL: there are no traces");
        return None;
    }
    let headers = headers(config).unwrap_or_else(|| {
        warn("OTEL_EXPORTER_OTLP_HEADERS", "is not name=value, separated by commas: no header is sent");
        HashMap::new()
    });
    let timeout = match config.timeout.as_str() {
        "" => TIMEOUT,
        text => text.parse().ok().filter(|millis| (1..=60_000).contains(millis)).map_or_else(
            || {
                warn("OTEL_EXPORTER_OTLP_TIMEOUT", "is not from 1 to 60000 milliseconds: it counts as 10000");
                TIMEOUT
            },
            Duration::from_millis,
        ),
    };
    let sampler = sampler(config, warn);
    let endpoint = format!("{endpoint}/v1/traces");
    let service_name = config.service_name.clone().filter(|name| !name.is_empty());
    Some(Settings { endpoint, headers, timeout, sampler, service_name })
}

/// The default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A text that is not empty.
fn given(secret: Option<&Secret>) -> Option<&str> {
    secret.map(Secret::expose).filter(|text| !text.is_empty())
}

fn headers(config: &TraceConfig) -> Option<HashMap<String, String>> {
    let Some(given) = given(config.headers.as_ref()) else { return Some(HashMap::new()) };
    let pairs = given.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let parsed = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value.trim().to_owned()))
    });
    parsed.collect()
}

fn sampler(config: &TraceConfig, mut warn: impl FnMut(&str, &str)) -> Sampler {
    let named = config.sampler.to_ascii_lowercase();
    let (is_parent_based, root) = match named.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, named.as_str()),
    };
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(config, warn)),
        _ => {
            if !named.is_empty() {
                warn("OTEL_TRACES_SAMPLER", "is not supported: parentbased_always_on counts");
            }
            return Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        }
    };
    if is_parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
}

fn ratio(config: &TraceConfig, mut warn: impl FnMut(&str, &str)) -> f64 {
    if config.ratio.is_empty() {
        return 1.0;
    }
    config.ratio.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or_else(|| {
        warn("OTEL_TRACES_SAMPLER_ARG", "is not from 0 to 1: it counts as 1");
        1.0
    })
}

/// What is read: by us, or by the SDK itself.
const SUPPORTED: [&str; 18] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_SERVICE_NAME",
    "OTEL_SDK_DISABLED",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
];

/// A warning that names the variables of OpenTelemetry's that are set here and that nobody reads.
fn unsupported(environment: impl Iterator<Item = String>) -> Option<String> {
    let is_foreign = |name: &String| name.starts_with("OTEL_") && !SUPPORTED.contains(&name.as_str());
    let mut names: Vec<_> = environment.filter(is_foreign).collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| format!("not supported, and not read: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        traces: TraceConfig,
    }

    const ENDPOINT: &str = "--otel-exporter-otlp-endpoint=http://planted@h:4318/";

    fn with(more: &[&str]) -> (Option<Settings>, Vec<String>) {
        let args = ["test"].iter().chain(more);
        read(&Cli::try_parse_from(args).unwrap().traces, std::iter::empty())
    }

    /// What the settings come to, where nothing has to be warned of.
    fn good(more: &[&str]) -> Settings {
        let (settings, warnings) = with(&[&[ENDPOINT], more].concat());
        assert_eq!(warnings, [""; 0], "{more:?}");
        settings.unwrap()
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        assert!(with(&[]).0.is_none());
        assert!(with(&["--otel-exporter-otlp-endpoint="]).0.is_none());
        assert!(with(&["--otel-exporter-otlp-endpoint= \n"]).0.is_none());
        let default = format!("{:?}", good(&[]));
        for name in [
            "exporter-otlp-headers",
            "exporter-otlp-protocol",
            "exporter-otlp-timeout",
            "traces-exporter",
            "traces-sampler",
            "traces-sampler-arg",
            "service-name",
            "sdk-disabled",
        ] {
            for empty in ["", " ", "\n"] {
                assert_eq!(format!("{:?}", good(&[&format!("--otel-{name}={empty}")])), default, "{name}");
            }
        }
        assert!(default.contains("http://planted@h:4318/v1/traces"), "{default}");
    }

    #[test]
    fn enumerations_come_in_any_case_and_with_blanks_around_them() {
        for (sampler, expected) in [
            ("ALWAYS_ON", "AlwaysOn"),
            (" Always_Off\n", "AlwaysOff"),
            ("TraceIdRatio", "TraceIdRatioBased(0.25)"),
            ("parentbased_TRACEIDRATIO", "ParentBased(TraceIdRatioBased(0.25))"),
            ("ParentBased_Always_Off", "ParentBased(AlwaysOff)"),
        ] {
            let settings = good(&[&format!("--otel-traces-sampler={sampler}"), "--otel-traces-sampler-arg= 0.25\n"]);
            assert_eq!(format!("{:?}", settings.sampler), expected);
        }
        good(&[
            "--otel-exporter-otlp-protocol=HTTP/Protobuf ",
            "--otel-traces-exporter=OTLP",
            "--otel-sdk-disabled=FALSE",
        ]);
        assert!(with(&[ENDPOINT, "--otel-sdk-disabled=True"]).0.is_none());
        assert!(with(&[ENDPOINT, "--otel-traces-exporter= None"]).0.is_none());
        let timeout = good(&["--otel-exporter-otlp-timeout= 250\n"]).timeout;
        assert_eq!(timeout, Duration::from_millis(250));
    }

    #[test]
    fn what_is_not_supported_is_a_warning_and_the_default_counts() {
        let default = format!("{:?}", good(&[]));
        for (name, value) in [
            ("exporter-otlp-protocol", "grpc"),
            ("exporter-otlp-timeout", "soon"),
            ("exporter-otlp-timeout", "0"),
            ("exporter-otlp-headers", "planted"),
            ("traces-exporter", "zipkin"),
            ("traces-sampler", "jaeger_remote"),
            ("sdk-disabled", "perhaps"),
        ] {
            let (settings, warnings) = with(&[ENDPOINT, &format!("--otel-{name}={value}")]);
            assert_eq!(format!("{:?}", settings.unwrap()), default, "{name}");
            let variable = format!("OTEL_{}", name.replace('-', "_").to_uppercase());
            assert!(warnings.len() == 1 && warnings[0].starts_with(&variable), "{warnings:?}");
            assert!(!warnings[0].contains("planted"), "{warnings:?}");
        }
        let sampled = with(&[ENDPOINT, "--otel-traces-sampler=traceidratio", "--otel-traces-sampler-arg=2"]);
        assert_eq!(sampled.1, ["OTEL_TRACES_SAMPLER_ARG is not from 0 to 1: it counts as 1"]);
        let (settings, warnings) = with(&["--otel-exporter-otlp-endpoint=planted"]);
        assert!(settings.is_none());
        assert_eq!(warnings, ["OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL: there are no traces"]);
    }

    #[test]
    fn a_variable_that_nobody_reads_is_named() {
        let config = Cli::try_parse_from(["test"]).unwrap().traces;
        let all = ["OTEL_EXPORTER_OTLP_COMPRESSION", "PATH", "OTEL_SERVICE_NAME", "OTEL_ATTRIBUTE_COUNT_LIMIT"];
        let (_, warnings) = read(&config, all.into_iter().map(str::to_owned));
        let expected = "not supported, and not read: OTEL_ATTRIBUTE_COUNT_LIMIT, OTEL_EXPORTER_OTLP_COMPRESSION";
        assert_eq!(warnings, [expected]);
    }

    /// Whoever adds a setting adds it to what is supported.
    #[test]
    fn each_of_ours_is_supported() {
        let command = <Cli as clap::CommandFactory>::command();
        for arg in command.get_arguments().filter_map(clap::Arg::get_env) {
            assert!(SUPPORTED.contains(&arg.to_str().unwrap()), "{arg:?}");
        }
    }
}
