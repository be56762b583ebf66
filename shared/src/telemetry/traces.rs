//! Traces: off, unless a collector is named.
//!
//! Spans are made by hand, at the few places that have one, and only where the trace is sampled. They
//! are handed to a thread of the SDK, which sends them in batches; where the collector is away they
//! are dropped, and nobody waits.

mod collector;
mod settings;
mod traceparent;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::ensure;
use opentelemetry::trace::TracerProvider as _;
pub use opentelemetry::trace::{Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
pub use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use self::settings::Settings;
pub use self::traceparent::{format, parse};
use crate::config::TraceConfig;

/// A span that is recorded or dropped.
pub type RecordedSpan = opentelemetry_sdk::trace::Span;

static TRACES: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// How long the last spans may take on their way at the end.
const FLUSH: Duration = Duration::from_secs(3);

/// Starts traces, where a collector is named. To be called in a tokio runtime, once. What is wrong with a setting is a
/// warning in the log, which does not repeat it.
///
/// # Errors
/// They were started before, or there is no HTTP client.
pub fn start(config: &TraceConfig, service: &'static str) -> anyhow::Result<()> {
    let variables = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let (settings, warnings) = settings::read(config, variables.filter_map(|(name, _)| name.into_string().ok()));
    for warning in warnings {
        tracing::warn!(warning, "a setting of OpenTelemetry's");
    }
    let Some(Settings { endpoint, headers, timeout, sampler, service_name }) = settings else { return Ok(()) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector::Client::new(timeout)?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .with_endpoint(endpoint)
        .with_headers(headers)
        .build();
    // Its text may quote the endpoint, which may hold a secret.
    let Ok(exporter) = exporter else {
        tracing::warn!("OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_HEADERS is not right: there are no traces");
        return Ok(());
    };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(
            Resource::builder().with_service_name(service_name.unwrap_or_else(|| service.to_owned())).build(),
        )
        .build();
    let tracer = provider.tracer(service);
    ensure!(TRACES.set((provider, tracer)).is_ok(), "traces were started before");
    Ok(())
}

/// What makes spans, where traces are on.
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|(_, tracer)| tracer)
}

/// Sends what is left, within a bound.
pub async fn stop() {
    let Some((provider, _)) = TRACES.get() else { return };
    // It waits for its thread, which needs this runtime.
    let stopped = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH)).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::warn!("the last traces were not taken");
    }
}

/// The context of a parent that is elsewhere, for [`SpanBuilder::start_with_context`].
pub fn under(parent: SpanContext) -> Context {
    Context::new().with_remote_span_context(parent)
}
