//! The settings of traces.
//!
//! The names and the rules are OpenTelemetry's: an empty variable counts as not set, enumerations may be in any case,
//! and a value that is invalid or not supported causes a warning and does not stop the start. So they are kept as text
//! here; [`crate::runtime::telemetry::traces`] parses them.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use super::{Secret, foreign, foreign_secret};

/// Traces, by the names that OpenTelemetry gives its settings.
#[derive(Debug, Clone, clap::Args)]
pub struct TraceConfig {
    /// The collector of traces (OTLP over HTTP), `http://host:4318`; `/v1/traces` is appended. Without it no trace is
    /// recorded, and a caller's `traceparent` is passed on.
    #[arg(long, env, hide_env_values = true, value_parser = foreign_secret())]
    pub otel_exporter_otlp_endpoint: Option<Secret>,
    /// Headers for the collector, `name=value`, separated by commas; values are percent-encoded.
    #[arg(long, env, hide_env_values = true, value_parser = foreign_secret())]
    pub otel_exporter_otlp_headers: Option<Secret>,
    /// The same, for traces only: replaces `OTEL_EXPORTER_OTLP_HEADERS` if both are set.
    #[arg(long, env, hide_env_values = true, value_parser = foreign_secret())]
    pub otel_exporter_otlp_traces_headers: Option<Secret>,
    /// The protocol to the collector: only `http/protobuf`.
    #[arg(long, env, default_value = "http/protobuf", value_parser = foreign())]
    pub otel_exporter_otlp_protocol: String,
    /// The time for the collector to answer, in milliseconds, 1 to 60000.
    #[arg(long, env, default_value = "10000", value_parser = foreign())]
    pub otel_exporter_otlp_timeout: String,
    /// `otlp`, or `none`, which turns traces off.
    #[arg(long, env, default_value = "otlp", value_parser = foreign())]
    pub otel_traces_exporter: String,
    /// Which requests are recorded: `always_on`, `always_off`, `traceidratio`, or one of these with `parentbased_`
    /// before it, which follows the caller's `traceparent`, and decides only if there is none.
    #[arg(long, env, default_value = "parentbased_always_on", value_parser = foreign())]
    pub otel_traces_sampler: String,
    /// The ratio of a sampler with a ratio, 0 to 1.
    #[arg(long, env, default_value = "1", value_parser = foreign())]
    pub otel_traces_sampler_arg: String,
    /// The name of this service in traces, instead of its own.
    #[arg(long, env, value_parser = foreign())]
    pub otel_service_name: Option<String>,
    /// `true` turns traces off.
    #[arg(long, env, default_value = "false", value_parser = foreign())]
    pub otel_sdk_disabled: String,
    /// More attributes of this service, `name=value`, separated by commas; names and values are percent-encoded.
    #[arg(long, env, value_parser = foreign())]
    pub otel_resource_attributes: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its type says it; text here would become the text of --help")]
    pub spans: SpanConfig,
}

/// How spans are gathered, and how much one may hold.
#[derive(Debug, Clone, clap::Args)]
pub struct SpanConfig {
    /// How long spans wait for others of their batch, in milliseconds, 1 to 3600000.
    #[arg(long, env, default_value = "5000", value_parser = foreign())]
    pub otel_bsp_schedule_delay: String,
    /// The maximum number of waiting spans; further ones are dropped. 1 to 65536.
    #[arg(long, env, default_value = "2048", value_parser = foreign())]
    pub otel_bsp_max_queue_size: String,
    /// The maximum number of spans in a batch, 1 to 65536; at most `OTEL_BSP_MAX_QUEUE_SIZE`.
    #[arg(long, env, default_value = "512", value_parser = foreign())]
    pub otel_bsp_max_export_batch_size: String,
    /// The time to send a batch, in milliseconds, 1 to 3600000; `OTEL_EXPORTER_OTLP_TIMEOUT` applies if it is less.
    #[arg(long, env, default_value = "30000", value_parser = foreign())]
    pub otel_bsp_export_timeout: String,
    /// The maximum number of attributes of a span, 0 to 2147483647.
    #[arg(long, env, default_value = "128", value_parser = foreign())]
    pub otel_span_attribute_count_limit: String,
    /// The maximum number of events of a span, 0 to 2147483647.
    #[arg(long, env, default_value = "128", value_parser = foreign())]
    pub otel_span_event_count_limit: String,
    /// The maximum number of links of a span, 0 to 2147483647.
    #[arg(long, env, default_value = "128", value_parser = foreign())]
    pub otel_span_link_count_limit: String,
}
