//! OpenTelemetry's settings, read as its specification says: for a value that is invalid or not supported, there is a
//! warning, and the default applies.

mod pairs;
mod spans;

use std::ffi::OsStr;
use std::time::Duration;

use clap::{Arg, Args as _, Command};
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::Sampler;
use reqwest::header::HeaderMap;

use self::spans::Spans;
use crate::runtime::config::{Secret, TraceConfig};

/// Reads the settings: `None` if traces are off, and the warnings. No warning contains a value that may be a secret.
pub(super) fn read(config: &TraceConfig, environment: impl Iterator<Item = String>) -> (Option<Settings>, Vec<String>) {
    let mut warnings: Vec<_> = unsupported(environment).into_iter().collect();
    let settings = settings(config, &mut warnings);
    (settings, warnings)
}

/// The settings of the trace export.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) endpoint: String,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
    pub(super) service_name: Option<String>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) spans: Spans,
}

fn settings(config: &TraceConfig, warnings: &mut Vec<String>) -> Option<Settings> {
    let mut warn = |name: &str, what: &str| warnings.push(format!("{name} {what}"));
    let endpoint = given(config.otel_exporter_otlp_endpoint.as_ref())?.trim_end_matches('/');
    match config.otel_sdk_disabled.to_ascii_lowercase().as_str() {
        "true" => return None,
        "false" | "" => {}
        _ => warn("OTEL_SDK_DISABLED", "is neither true nor false: it counts as false"),
    }
    match config.otel_traces_exporter.to_ascii_lowercase().as_str() {
        "none" => return None,
        "otlp" | "" => {}
        _ => warn("OTEL_TRACES_EXPORTER", "is neither otlp nor none: it counts as otlp"),
    }
    if !matches!(config.otel_exporter_otlp_protocol.to_ascii_lowercase().as_str(), "http/protobuf" | "") {
        warn("OTEL_EXPORTER_OTLP_PROTOCOL", "is not http/protobuf, which is used instead");
    }
    let is_url = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !reqwest::Url::parse(endpoint).is_ok_and(|url| is_url(&url)) {
        warn("OTEL_EXPORTER_OTLP_ENDPOINT", "is not an http or https URL: there are no traces");
        return None;
    }
    let (name, text) = match given(config.otel_exporter_otlp_traces_headers.as_ref()) {
        Some(text) => ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", text),
        None => ("OTEL_EXPORTER_OTLP_HEADERS", given(config.otel_exporter_otlp_headers.as_ref()).unwrap_or_default()),
    };
    let headers = pairs::headers(text).unwrap_or_else(|| {
        warn(name, "is not name=value, separated by commas: no header is sent");
        HeaderMap::new()
    });
    let attributes = pairs::attributes(config.otel_resource_attributes.as_deref().unwrap_or_default());
    let attributes = attributes.unwrap_or_else(|| {
        warn("OTEL_RESOURCE_ATTRIBUTES", "is not name=value, separated by commas: no attribute counts");
        Vec::new()
    });
    let sampler = sampler(config, warn);
    let spans = spans::read(&config.spans, warnings);
    let timeout = "OTEL_EXPORTER_OTLP_TIMEOUT";
    let timeout =
        spans::number(timeout, &config.otel_exporter_otlp_timeout, &(1..=60_000), 10_000, " milliseconds", warnings);
    let timeout = Duration::from_millis(timeout).min(spans.export_timeout);
    let endpoint = format!("{endpoint}/v1/traces");
    let service_name = config.otel_service_name.clone().filter(|name| !name.is_empty());
    Some(Settings { endpoint, headers, timeout, sampler, service_name, attributes, spans })
}

/// The text of a setting, unless it is empty.
fn given(secret: Option<&Secret>) -> Option<&str> {
    secret.map(Secret::expose).filter(|text| !text.is_empty())
}

fn sampler(config: &TraceConfig, mut warn: impl FnMut(&str, &str)) -> Sampler {
    let named = config.otel_traces_sampler.to_ascii_lowercase();
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
    if config.otel_traces_sampler_arg.is_empty() {
        return 1.0;
    }
    config.otel_traces_sampler_arg.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or_else(|| {
        warn("OTEL_TRACES_SAMPLER_ARG", "is not from 0 to 1: it counts as 1");
        1.0
    })
}

/// A warning with the OpenTelemetry variables that are set but not read. The SDK does not warn of them.
fn unsupported(environment: impl Iterator<Item = String>) -> Option<String> {
    let settings = TraceConfig::augment_args(Command::new("settings"));
    let ours: Vec<_> = settings.get_arguments().filter_map(Arg::get_env).collect();
    let is_foreign = |name: &String| name.starts_with("OTEL_") && !ours.contains(&OsStr::new(name));
    let mut names: Vec<_> = environment.filter(is_foreign).collect();
    names.sort_unstable();
    (!names.is_empty()).then(|| format!("not supported, and not read: {}", names.join(", ")))
}

#[cfg(test)]
mod tests;
