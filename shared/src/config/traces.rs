//! Where traces go.
//!
//! The names and the rules are OpenTelemetry's: an empty variable is one that is not set, enumerations come in any
//! case, and what is not understood or not supported is told in a warning and does not stop the start. So these are
//! texts here; [`crate::telemetry::traces`] reads them.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use super::{Secret, foreign, foreign_secret};

/// Traces, by the names that OpenTelemetry gives its settings.
#[derive(Debug, Clone, clap::Args)]
pub struct TraceConfig {
    /// The collector of traces (OTLP over HTTP), `http://host:4318`; `/v1/traces` is appended. Without
    /// it nothing is recorded, and a caller's `traceparent` is passed on.
    #[arg(
        id = "otel-exporter-otlp-endpoint",
        long,
        value_name = "OTEL_EXPORTER_OTLP_ENDPOINT",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_parser = foreign_secret()
    )]
    pub endpoint: Option<Secret>,
    /// Headers for the collector, `name=value`, separated by commas; values are percent-encoded.
    #[arg(
        id = "otel-exporter-otlp-headers",
        long,
        value_name = "OTEL_EXPORTER_OTLP_HEADERS",
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        value_parser = foreign_secret()
    )]
    pub headers: Option<Secret>,
    /// The same, for traces alone: instead of `OTEL_EXPORTER_OTLP_HEADERS`, where both are set.
    #[arg(
        id = "otel-exporter-otlp-traces-headers",
        long,
        value_name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        hide_env_values = true,
        value_parser = foreign_secret()
    )]
    pub traces_headers: Option<Secret>,
    /// How traces travel: `http/protobuf`, and nothing else.
    #[arg(id = "otel-exporter-otlp-protocol", long, value_name = "OTEL_EXPORTER_OTLP_PROTOCOL", env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "http/protobuf",
          value_parser = foreign())]
    pub protocol: String,
    /// How long the collector may take, in milliseconds, 1 to 60000.
    #[arg(id = "otel-exporter-otlp-timeout", long, value_name = "OTEL_EXPORTER_OTLP_TIMEOUT", env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000",
          value_parser = foreign())]
    pub timeout: String,
    /// `otlp`, or `none`, which turns traces off.
    #[arg(id = "otel-traces-exporter", long, value_name = "OTEL_TRACES_EXPORTER", env = "OTEL_TRACES_EXPORTER", default_value = "otlp",
          value_parser = foreign())]
    pub exporter: String,
    /// Which requests are recorded: `always_on`, `always_off`, `traceidratio`, or one of these with
    /// `parentbased_` before it, which does as the caller's `traceparent` says, and decides where there
    /// is none.
    #[arg(id = "otel-traces-sampler", long, value_name = "OTEL_TRACES_SAMPLER", env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_on",
          value_parser = foreign())]
    pub sampler: String,
    /// The ratio of a sampler with a ratio, 0 to 1.
    #[arg(id = "otel-traces-sampler-arg", long, value_name = "OTEL_TRACES_SAMPLER_ARG", env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1",
          value_parser = foreign())]
    pub ratio: String,
    /// The name of this service in traces, instead of its own.
    #[arg(id = "otel-service-name", long, value_name = "OTEL_SERVICE_NAME", env = "OTEL_SERVICE_NAME", value_parser = foreign())]
    pub service_name: Option<String>,
    /// `true` turns traces off.
    #[arg(id = "otel-sdk-disabled", long, value_name = "OTEL_SDK_DISABLED", env = "OTEL_SDK_DISABLED", default_value = "false",
          value_parser = foreign())]
    pub disabled: String,
    /// What else is said of this service, `name=value`, separated by commas; names and values are percent-encoded.
    #[arg(id = "otel-resource-attributes", long, value_name = "OTEL_RESOURCE_ATTRIBUTES", env = "OTEL_RESOURCE_ATTRIBUTES",
          value_parser = foreign())]
    pub resource_attributes: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its type says it; text here would become the text of --help")]
    pub spans: SpanConfig,
}

/// How spans are gathered, and how much one may hold.
#[derive(Debug, Clone, clap::Args)]
pub struct SpanConfig {
    /// How long spans wait for others to travel with, in milliseconds, 1 to 3600000.
    #[arg(id = "otel-bsp-schedule-delay", long, value_name = "OTEL_BSP_SCHEDULE_DELAY", env = "OTEL_BSP_SCHEDULE_DELAY", default_value = "5000",
          value_parser = foreign())]
    pub schedule_delay: String,
    /// How many spans may wait; what comes on top is dropped. 1 to 65536.
    #[arg(id = "otel-bsp-max-queue-size", long, value_name = "OTEL_BSP_MAX_QUEUE_SIZE", env = "OTEL_BSP_MAX_QUEUE_SIZE", default_value = "2048",
          value_parser = foreign())]
    pub queue_size: String,
    /// How many spans travel together, 1 to 65536; at most `OTEL_BSP_MAX_QUEUE_SIZE`.
    #[arg(id = "otel-bsp-max-export-batch-size", long, value_name = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default_value = "512",
          value_parser = foreign())]
    pub batch_size: String,
    /// How long spans may be under way, in milliseconds, 1 to 3600000; where `OTEL_EXPORTER_OTLP_TIMEOUT` is less, that
    /// counts.
    #[arg(id = "otel-bsp-export-timeout", long, value_name = "OTEL_BSP_EXPORT_TIMEOUT", env = "OTEL_BSP_EXPORT_TIMEOUT", default_value = "30000",
          value_parser = foreign())]
    pub export_timeout: String,
    /// The most attributes of a span, 0 to 2147483647.
    #[arg(id = "otel-span-attribute-count-limit", long, value_name = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", env = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", default_value = "128",
          value_parser = foreign())]
    pub attributes: String,
    /// The most events of a span, 0 to 2147483647.
    #[arg(id = "otel-span-event-count-limit", long, value_name = "OTEL_SPAN_EVENT_COUNT_LIMIT", env = "OTEL_SPAN_EVENT_COUNT_LIMIT", default_value = "128",
          value_parser = foreign())]
    pub events: String,
    /// The most links of a span, 0 to 2147483647.
    #[arg(id = "otel-span-link-count-limit", long, value_name = "OTEL_SPAN_LINK_COUNT_LIMIT", env = "OTEL_SPAN_LINK_COUNT_LIMIT", default_value = "128",
          value_parser = foreign())]
    pub links: String,
}
