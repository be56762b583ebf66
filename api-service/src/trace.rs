//! The trace of a request: its own span, the span of its way into the topic, and the `traceparent`
//! that the record carries on.
//!
//! Where traces are off, or the request's trace is not sampled, the caller's `traceparent` is passed
//! on, as the version and with the flag that we know.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use shared::runtime::telemetry::traces::{
    self, KeyValue, RecordedSpan, Span as _, SpanBuilder, SpanContext, SpanKind, Status, Tracer as _,
};

use crate::producer::Outcome;

const NAME: &str = "traceparent";

/// What a request hands to what comes after it; lies in its extensions.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    header: Option<String>,
    /// The request's span, where it is recorded.
    recorded: Option<SpanContext>,
}

#[derive(Debug)]
pub struct Answering(Option<RecordedSpan>);

impl Answering {
    /// Begins it, under the caller's span where there is one; and what there is to hand on.
    pub fn begin(method: &'static str, route: &'static str, headers: &HeaderMap) -> (Self, Option<Passed>) {
        let parent = given(headers);
        let unrecorded = |parent: Option<(String, _)>| {
            (Self(None), parent.map(|(text, _)| Passed { header: Some(text), recorded: None }))
        };
        let Some(tracer) = traces::tracer() else { return unrecorded(parent) };
        let attributes = [KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
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

    /// The trace's id, for the log.
    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|span| span.span_context().trace_id().to_string())
    }

    pub fn end(self, status: u16, code: Option<&'static str>, about: [(&'static str, Option<&str>); 3]) {
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

/// Events on their way to Kafka's acknowledgement.
#[derive(Debug)]
pub(crate) struct Publishing {
    header: Option<String>,
    span: Option<RecordedSpan>,
}

impl Publishing {
    /// Begins it, under the request's span.
    pub(crate) fn begin(parts: &Parts, topic: &str) -> Self {
        let passed = parts.extensions.get::<Passed>().cloned().unwrap_or_default();
        let (Some(tracer), Some(request)) = (traces::tracer(), passed.recorded) else {
            return Self { header: passed.header, span: None };
        };
        let attributes = [
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", topic.to_owned()),
        ];
        let builder = SpanBuilder::from_name(format!("send {topic}"));
        let builder = builder.with_kind(SpanKind::Producer).with_attributes(attributes);
        let span = tracer.build_with_context(builder, &traces::under(request));
        Self { header: Some(traces::format(span.span_context())), span: Some(span) }
    }

    pub(crate) fn header(&self) -> Option<String> {
        self.header.clone()
    }

    pub(crate) fn end(self, outcomes: &[Outcome]) {
        let Some(mut span) = self.span else { return };
        if let [Outcome::Accepted { partition, offset }] = outcomes {
            span.set_attribute(KeyValue::new("messaging.destination.partition.id", partition.to_string()));
            span.set_attribute(KeyValue::new("messaging.kafka.offset", *offset));
        } else {
            let count = i64::try_from(outcomes.len()).unwrap_or(i64::MAX);
            span.set_attribute(KeyValue::new("messaging.batch.message_count", count));
        }
        let failed = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Accepted { .. }));
        if let Some(failed) = failed {
            span.set_attribute(KeyValue::new("error.type", failed.as_str()));
            span.set_status(Status::error(failed.as_str()));
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
