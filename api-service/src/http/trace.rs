//! The trace of a request: its own span, and what it hands on to the spans behind it.
//!
//! Where traces are off, or the request's trace is not sampled, the caller's `traceparent` is passed
//! on, as the version and with the flag that we know.

use axum::http::HeaderMap;
use shared::runtime::telemetry::traces::{
    self, KeyValue, RecordedSpan, Span as _, SpanBuilder, SpanContext, SpanKind, Status, Tracer as _,
};

const NAME: &str = "traceparent";

/// What a request hands to what comes after it; lies in its extensions.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    pub header: Option<String>,
    /// The request's span, where it is recorded.
    pub recorded: Option<SpanContext>,
}

#[derive(Debug)]
pub struct Answering(Option<RecordedSpan>);

impl Answering {
    /// Begins it, under the caller's span where there is one; and what there is to hand on.
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
        // What the caller did wrong is no error of the server's.
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
