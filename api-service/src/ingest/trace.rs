//! The span of events that are written to the topic, and the `traceparent` of their records.

use axum::http::request::Parts;
use shared::runtime::telemetry::traces::{
    self, KeyValue, RecordedSpan, Span as _, SpanBuilder, SpanKind, Status, Tracer as _,
};

use super::producer::Outcome;
use crate::http::trace::Passed;

/// Events that wait for Kafka's acknowledgement.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// The `traceparent` of their records.
    pub(crate) header: Option<String>,
    span: Option<RecordedSpan>,
}

impl Publishing {
    /// Starts the span, as a child of the request's span.
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
