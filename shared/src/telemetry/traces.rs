//! Traces: off, unless a collector is named.
//!
//! Spans are made by hand, at the few places that have one, and only where the trace is sampled. They
//! are handed to a thread of the SDK, which sends them in batches; where the collector is away they
//! are dropped, and nobody waits.

mod collector;
mod traceparent;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use opentelemetry::trace::TracerProvider as _;
pub use opentelemetry::trace::{Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
pub use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

pub use self::traceparent::{format, parse};
use crate::config::TraceConfig;

/// A span that is recorded or dropped.
pub type RecordedSpan = opentelemetry_sdk::trace::Span;

static TRACES: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// How long the last spans may take on their way at the end.
const FLUSH: Duration = Duration::from_secs(3);

/// Starts traces, where a collector is named. To be called in a tokio runtime, once.
///
/// # Errors
/// One clear line where a setting is wrong; it does not repeat the setting.
pub fn start(config: &TraceConfig, service: &'static str) -> anyhow::Result<()> {
    let Some(endpoint) = &config.endpoint else { return Ok(()) };
    let endpoint = endpoint.expose().trim_end_matches('/');
    ensure!(
        reqwest::Url::parse(endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
        "OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL"
    );
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector::Client::new(config)?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .with_headers(headers(config)?)
        .build()
        .ok()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_HEADERS is not right")?;
    let name = config.service_name.clone().unwrap_or_else(|| service.to_owned());
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler(config))
        .with_resource(Resource::builder().with_service_name(name).build())
        .build();
    let tracer = provider.tracer(service);
    ensure!(TRACES.set((provider, tracer)).is_ok(), "traces were started before");
    Ok(())
}

/// The headers as they are given; their values are decoded later.
fn headers(config: &TraceConfig) -> anyhow::Result<HashMap<String, String>> {
    let Some(given) = &config.headers else { return Ok(HashMap::new()) };
    let pairs = given.expose().split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let parsed = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value.trim().to_owned()))
    });
    parsed.collect::<Option<_>>().context("OTEL_EXPORTER_OTLP_HEADERS is not name=value, separated by commas")
}

fn sampler(config: &TraceConfig) -> Sampler {
    let (parent_based, root) = match config.sampler.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, config.sampler.as_str()),
    };
    let root = match root {
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(config.ratio),
        _ => Sampler::AlwaysOn,
    };
    if parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
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
