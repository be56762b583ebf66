//! The trace of a record, up to its write or its dead letter.
//!
//! A batch holds records of many traces. Each sampled trace gets its own span, under the span that sent the record; an
//! unsampled one costs a look at its `traceparent`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rdkafka::error::KafkaError;
use shared::kafka::{DeadLetter, header};
use shared::runtime::telemetry::traces::{
    self, KeyValue, RecordedSpan, Span as _, SpanBuilder, SpanContext, SpanKind, Status, Tracer as _,
};
use shared::store::{Class, Failure};

use crate::scheduler::Task;

/// A batch that is being applied.
#[derive(Debug)]
pub struct Processing {
    started: SystemTime,
    /// The attribute name of the records' key.
    key: &'static str,
    /// The distinct sampled parents.
    parents: Vec<Parent>,
}

/// The span that sent records, the index of its first record in the batch, and the number of its records.
#[derive(Debug)]
struct Parent {
    context: SpanContext,
    first: usize,
    count: i64,
}

impl Processing {
    /// Starts the spans of a batch.
    pub fn begin<E>(batch: &[Task<E>], key: &'static str) -> Self {
        let parents = if traces::tracer().is_some() { parents(batch) } else { Vec::new() };
        Self { started: SystemTime::now(), key, parents }
    }

    /// The batch is committed; if it was fenced, no read returns an older state.
    pub fn done<E>(self, batch: &[Task<E>], committed: SystemTime, fenced: bool) {
        for mut span in self.parents.iter().filter_map(|parent| self.span(batch, parent)) {
            span.add_event_with_timestamp("committed", committed, Vec::new());
            span.set_attribute(KeyValue::new("cache.fenced", fenced));
            span.end();
        }
    }

    /// An event alone could not be written. There is no span for a batch that failed, because its events are tried one
    /// by one, and none for an outage, which is retried until it is over.
    pub fn failed<E>(self, batch: &[Task<E>], error: &Failure) {
        if batch.len() > 1 || error.class.is_outage() || error.class == Class::Again {
            return;
        }
        for mut span in self.parents.iter().filter_map(|parent| self.span(batch, parent)) {
            span.set_attribute(KeyValue::new("error.type", format!("{:?}", error.class).to_lowercase()));
            span.set_status(Status::error(error.reason.clone()));
            span.end();
        }
    }

    fn span<E>(&self, batch: &[Task<E>], parent: &Parent) -> Option<RecordedSpan> {
        let task = batch.get(parent.first)?;
        let mut attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", task.record.topic.clone()),
            KeyValue::new("messaging.destination.partition.id", task.record.partition.to_string()),
            KeyValue::new("messaging.kafka.offset", task.record.offset),
        ];
        if parent.count == 1 {
            attributes.push(KeyValue::new(self.key, task.delivery.envelope.key.to_string()));
            attributes.push(KeyValue::new("event_id", task.delivery.envelope.id.to_string()));
        } else {
            attributes.push(KeyValue::new("messaging.batch.message_count", parent.count));
        }
        let builder = SpanBuilder::from_name(format!("process {}", task.record.topic));
        let builder = builder.with_kind(SpanKind::Consumer).with_attributes(attributes).with_start_time(self.started);
        Some(traces::tracer()?.build_with_context(builder, &traces::under(parent.context.clone())))
    }
}

fn parents<E>(batch: &[Task<E>]) -> Vec<Parent> {
    let mut places = BTreeMap::new();
    let mut parents: Vec<Parent> = Vec::new();
    for (first, task) in batch.iter().enumerate() {
        let Some(text) = task.delivery.envelope.traceparent.as_deref() else { continue };
        let place = *places.entry(text).or_insert_with(|| {
            let context = traces::parse(text).filter(SpanContext::is_sampled)?;
            parents.push(Parent { context, first, count: 0 });
            Some(parents.len() - 1)
        });
        if let Some(parent) = place.and_then(|place| parents.get_mut(place)) {
            parent.count += 1;
        }
    }
    parents
}

/// Starts the span of a dead letter, if its record's trace is sampled.
pub fn begin_dead_letter(letter: &DeadLetter, topic: &str) -> Option<RecordedSpan> {
    let tracer = traces::tracer()?;
    let parent = letter.record.header(header::TRACEPARENT)?;
    let parent = traces::parse(std::str::from_utf8(parent).ok()?).filter(SpanContext::is_sampled)?;
    let attributes = [
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "send"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
        KeyValue::new("dlq.reason", letter.reason.as_str()),
        KeyValue::new("dlq.attempts", i64::from(letter.attempts)),
        KeyValue::new("dlq.topic", letter.record.topic.clone()),
        KeyValue::new("dlq.partition", i64::from(letter.record.partition)),
        KeyValue::new("dlq.offset", letter.record.offset),
    ];
    let builder = SpanBuilder::from_name(format!("send {topic}"));
    let builder = builder.with_kind(SpanKind::Producer).with_attributes(attributes);
    Some(tracer.build_with_context(builder, &traces::under(parent)))
}

/// Ends the span, with the error if Kafka did not acknowledge the letter.
pub fn end_dead_letter(mut span: RecordedSpan, error: Option<&KafkaError>) {
    if let Some(error) = error {
        span.set_status(Status::error(error.to_string()));
    }
    span.end();
}
