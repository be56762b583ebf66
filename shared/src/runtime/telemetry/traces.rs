//! Traces: off unless a collector is configured.
//!
//! Spans are created by hand at a few places, and only if the trace is sampled. A thread of the SDK sends them in
//! batches. If the collector is down, spans are dropped, and no code waits.

mod collector;
mod settings;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::ensure;
use opentelemetry::propagation::TextMapPropagator as _;
pub use opentelemetry::trace::{Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::trace::{TraceFlags, TracerProvider as _};
pub use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};

use self::settings::Settings;
use crate::runtime::config::TraceConfig;

/// A span that is recorded or dropped.
pub type RecordedSpan = opentelemetry_sdk::trace::Span;

static TRACES: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// The timeout for sending the last spans at the end of the process.
const FLUSH: Duration = Duration::from_secs(3);

/// Starts traces if a collector is configured. Call it once, in a Tokio runtime. A wrong setting causes a warning in
/// the log, without the setting's value.
pub fn start(config: &TraceConfig, service: &'static str) -> anyhow::Result<()> {
    let variables = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let (settings, warnings) = settings::read(config, variables.filter_map(|(name, _)| name.into_string().ok()));
    for warning in warnings {
        tracing::warn!(warning, "an OpenTelemetry setting is wrong or not supported");
    }
    let Some(settings) = settings else { return Ok(()) };
    let Settings { endpoint, headers, timeout, sampler, service_name, attributes, spans } = settings;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector::Client::new(timeout, headers)?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .with_endpoint(endpoint)
        .build();
    // The error may quote the endpoint, which may contain a secret.
    let Ok(exporter) = exporter else {
        tracing::warn!("OTEL_EXPORTER_OTLP_ENDPOINT is not valid: there are no traces");
        return Ok(());
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(spans.queue_size)
        .with_max_export_batch_size(spans.batch_size)
        .with_scheduled_delay(spans.schedule_delay)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_max_attributes_per_span(spans.attributes)
        .with_max_events_per_span(spans.events)
        .with_max_links_per_span(spans.links)
        .with_sampler(sampler)
        .with_resource(resource(service, service_name, attributes))
        .build();
    let tracer = provider.tracer(service);
    ensure!(TRACES.set((provider, tracer)).is_ok(), "traces are already started");
    Ok(())
}

/// The resource attributes of this service. A service name from the settings has priority, then the attributes, then
/// `service`. The SDK's environment detector is left out, because the settings are read here.
fn resource(service: &'static str, named: Option<String>, attributes: Vec<KeyValue>) -> Resource {
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(service)
        .with_attributes(attributes);
    match named {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// The tracer that creates spans, if traces are on.
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|(_, tracer)| tracer)
}

/// Sends the remaining spans, within a timeout.
pub async fn stop() {
    let Some((provider, _)) = TRACES.get() else { return };
    // The shutdown blocks until the SDK's thread ends, which needs this runtime for its requests.
    let stopped = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH)).await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::warn!("the last traces were not exported");
    }
}

/// The context of a remote parent, for [`SpanBuilder::start_with_context`].
pub fn under(parent: SpanContext) -> Context {
    Context::new().with_remote_span_context(parent)
}

/// Parses a `traceparent`; `None` if the SDK rejects it. The SDK accepts ids that are too short.
pub fn parse(text: &str) -> Option<SpanContext> {
    let headers = HashMap::from([("traceparent".to_owned(), text.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

/// The `traceparent` for children of this span.
pub fn format(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags() & TraceFlags::SAMPLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_of_the_version_and_the_flags_that_we_know() {
        const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (given, passed) in [
            (GOOD.to_owned(), Some(GOOD)),
            (format!("{}ff", &GOOD[..53]), Some(GOOD)),
            (format!("cc{}-later", &GOOD[2..]), Some(GOOD)),
            (format!("{GOOD}-x"), None),
            (GOOD.to_uppercase(), None),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(&given).as_ref().map(format).as_deref(), passed, "{given}");
        }
    }
}
