//! The trace of a request: its own span, and the trace context for later spans.
//!
//! If traces are off, or the request's trace is not sampled, the caller's `traceparent` is passed on, with the version
//! and the flag that this service knows.

use axum::http::HeaderMap;
use shared::runtime::telemetry::traces::{
    self, KeyValue, RecordedSpan, Span as _, SpanBuilder, SpanContext, SpanKind, Status, Tracer as _,
};

const NAME: &str = "traceparent";

/// The trace context that a request passes on, in its extensions.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    pub header: Option<String>,
    /// The request's span, if it is recorded.
    pub recorded: Option<SpanContext>,
}

#[derive(Debug)]
pub struct Answering(Option<RecordedSpan>);

impl Answering {
    /// Starts the span, as a child of the caller's span if there is one. Also returns the context to pass on.
    pub fn begin(method: &'static str, route: &str, headers: &HeaderMap) -> (Self, Option<Passed>) {
        let parent = given(headers);
        let unrecorded = |parent: Option<(String, _)>| {
            (Self(None), parent.map(|(text, _)| Passed { header: Some(text), recorded: None }))
        };
        let Some(tracer) = traces::tracer() else { return unrecorded(parent) };
        let attributes = [KeyValue::new("http.request.method", method), KeyValue::new("http.route", route.to_owned())];
        let builder = SpanBuilder::from_name(format!("{method} {route}"));
        let builder = builder.with_kind(SpanKind::Server).with_attributes(attributes);
        let context = parent.as_ref().map(|(_, context)| traces::under(context.clone())).unwrap_or_default();
        let span = tracer.build_with_context(builder, &context);
        if !span.is_recording() {
            return unrecorded(parent);
        }
        let recorded = span.span_context().clone();
        let passed = Passed { header: Some(traces::format(&recorded)), recorded: Some(recorded) };
        (Self(Some(span)), Some(passed))
    }

    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|span| span.span_context().trace_id().to_string())
    }

    pub fn end<'a>(
        self,
        status: u16,
        code: Option<&'static str>,
        about: impl Iterator<Item = (&'static str, Option<&'a str>)>,
    ) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        for (name, value) in about {
            if let Some(value) = value {
                span.set_attribute(KeyValue::new(name, value.to_owned()));
            }
        }
        if let Some(code) = code {
            span.set_attribute(KeyValue::new("error.type", code));
        }
        // A client error is not an error of the server's span (OpenTelemetry).
        if status >= 500 {
            span.set_status(Status::error(code.unwrap_or_default()));
        }
    }
}

/// The request's `traceparent`, if it has exactly one and that is valid.
fn given(headers: &HeaderMap) -> Option<(String, SpanContext)> {
    let mut all = headers.get_all(NAME).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let context = traces::parse(only.to_str().ok()?)?;
    Some((traces::format(&context), context))
}
