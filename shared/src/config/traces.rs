//! Where traces go.

use std::time::Duration;

use super::Secret;

/// Traces, by the names that OpenTelemetry gives its settings.
#[derive(Debug, Clone, clap::Args)]
pub struct TraceConfig {
    /// The collector of traces (OTLP over HTTP), `http://host:4318`; `/v1/traces` is appended. Without
    /// it nothing is recorded, and a caller's `traceparent` is passed on as it came.
    #[arg(
        id = "otel-exporter-otlp-endpoint",
        long,
        value_name = "OTEL_EXPORTER_OTLP_ENDPOINT",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    pub endpoint: Option<Secret>,
    /// Headers for the collector, `name=value`, separated by commas; values are percent-encoded.
    #[arg(
        id = "otel-exporter-otlp-headers",
        long,
        value_name = "OTEL_EXPORTER_OTLP_HEADERS",
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true
    )]
    pub headers: Option<Secret>,
    /// How traces travel.
    #[arg(id = "otel-exporter-otlp-protocol", long, value_name = "OTEL_EXPORTER_OTLP_PROTOCOL", env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "http/protobuf",
          value_parser = ["http/protobuf"])]
    pub protocol: String,
    /// How long the collector may take, in milliseconds.
    #[arg(id = "otel-exporter-otlp-timeout", long, value_name = "OTEL_EXPORTER_OTLP_TIMEOUT", env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000",
          value_parser = millis)]
    pub timeout: Duration,
    /// Which requests are recorded. The `parentbased` ones do as the caller's `traceparent` says, and
    /// decide where there is none.
    #[arg(id = "otel-traces-sampler", long, value_name = "OTEL_TRACES_SAMPLER", env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_on",
          value_parser = ["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"])]
    pub sampler: String,
    /// The ratio of a sampler with a ratio, 0 to 1.
    #[arg(id = "otel-traces-sampler-arg", long, value_name = "OTEL_TRACES_SAMPLER_ARG", env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1",
          value_parser = ratio)]
    pub ratio: f64,
    /// The name of this service in traces, instead of its own; more is said of it by
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    #[arg(id = "otel-service-name", long, value_name = "OTEL_SERVICE_NAME", env = "OTEL_SERVICE_NAME")]
    pub service_name: Option<String>,
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(millis @ 1..=60_000) => Ok(Duration::from_millis(millis)),
        _ => Err("it must be from 1 to 60000 milliseconds".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "it must be from 0 to 1".to_owned())
}
