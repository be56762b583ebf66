//! Accepts events for every domain: `POST` of one event, or of a batch. An event is in Kafka, acknowledged by all
//! in-sync replicas, before its sender gets a 202.
//!
//! The order: token → rights → rate → format → memory → body → each event parsed → each admitted → Kafka → response.

pub mod batch;
pub(crate) mod format;
mod named;
pub mod openapi;
pub mod producer;
mod request_reader;
pub mod single;
mod trace;

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::routing::post;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::kafka::Outgoing;
use shared::kafka::cloud_events::{self, Submitted};
use shared::runtime::config::AccessLog;
use shared::runtime::json::BodyError;
use time::OffsetDateTime;

use self::producer::{Outcome, Producer};
use crate::auth::Caller;
use crate::auth::tokens::Tokens;
use crate::http::Route;
use crate::http::body::BodyLimits;
use crate::http::in_flight::InFlight;
use crate::http::problem::{Code, Problem};
use crate::http::rate::Rates;
use crate::http::subject::{About, Subject, SubjectKind};

/// A domain's rules for the events that it accepts.
pub trait Ingest: Send + Sync + 'static {
    /// An event as it was sent, after parsing.
    type Submission: Send;
    /// An event that may be sent to Kafka.
    type Admitted: Send + Sync;
    /// What the 202 of a single event has beside `request_id`, `status` and `event_id`: the fields of a struct, or `()`.
    type Answer: Serialize + Send;

    /// The kind of subject of its events.
    const SUBJECT: &'static SubjectKind;

    /// The caller of a request without any `Authorization` header, if this domain lets it come.
    fn anonymous(&self) -> Option<Arc<Caller>> {
        None
    }

    /// Whether this caller may send events at all; called before the body is read.
    fn authorize(&self, caller: &Caller) -> Result<(), Problem>;

    /// Parses an event; the error lists every fault.
    fn parse(&self, item: Item<'_>) -> Result<Self::Submission, BodyError>;

    /// Checks rights and limits of all events of a request together: one verdict for each event, in order. A refusal
    /// changes nothing for the events behind it: if they must not overtake it, the domain refuses them, too. If the
    /// request ends while this waits, its future is dropped: nothing of it was sent, so that the domain has to take back
    /// by itself what it charged.
    fn admit(
        &self,
        caller: &Caller,
        events: Vec<Self::Submission>,
    ) -> impl Future<Output = Vec<Admission<Self::Admitted, Self::Answer>>> + Send;

    /// What the 202 says of an event that was accepted at this time. Not called for the events of a batch.
    fn answer(&self, admitted: &Self::Admitted, accepted_at: OffsetDateTime) -> Self::Answer;

    /// The record of an event that was accepted at this time. The backbone adds the request, the caller and the trace.
    fn record(&self, admitted: &Self::Admitted, accepted_at: OffsetDateTime) -> Outgoing;

    /// Maps Kafka's result for an event to the response: an error if the event was not accepted, or if that is unknown.
    /// Here a domain keeps what it charged in `admit`, or takes it back:
    ///
    /// - [`Outcome::Accepted`]: Kafka has the event.
    /// - [`Outcome::is_refusal`]: Kafka certainly does not have it and never will, so the charge is taken back. Events of
    ///   a batch that is refused as a whole are settled so, too, although nobody tried to send them.
    /// - [`Outcome::Unknown`]: Kafka may have it, now or in a few seconds, so the charge stays.
    ///
    /// Called at most once for each admitted event, and never for one that is [`Admission::Done`]. If the request ends
    /// before, such as when its connection breaks, the event is dropped without a call: that counts as unknown, because
    /// it may have been sent. The call must not wait: work that it leaves behind is queued, and ended by
    /// [`Served::drained`](crate::backbone::Served::drained).
    fn settle(&self, admitted: Self::Admitted, outcome: Outcome) -> Result<(), (Code, &'static str)> {
        drop(admitted);
        outcome.verdict()
    }
}

/// An event as it was sent, and the request body that it is a part of, whose memory it may share.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// In the domain's own form.
    Plain(&'a Bytes, &'a RawValue),
    /// A CloudEvent in the JSON format.
    Structured(&'a Bytes, &'a RawValue),
    /// A CloudEvent in binary mode: its attributes are headers, its data is the body.
    Binary(&'a HeaderMap, &'a Bytes),
}

impl Item<'_> {
    /// Parses a CloudEvent; the error lists every fault. In a domain without its own form, `Plain` is the JSON format,
    /// too.
    pub fn cloud_event<T, S>(self) -> Result<Submitted<T, S>, BodyError>
    where
        T: FromStr<Err: Display>,
        S: FromStr<Err: Display>,
    {
        match self {
            Self::Plain(body, value) | Self::Structured(body, value) => cloud_events::structured(body, value),
            Self::Binary(headers, body) => {
                let content_type = format::data_type(headers);
                let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
                let attributes = headers.filter_map(|(name, value)| Some((name.strip_prefix("ce-")?, value)));
                cloud_events::binary(content_type, attributes, body)
            }
        }
    }
}

/// Whether an event may be sent to Kafka.
#[derive(Debug)]
pub enum Admission<T, A = ()> {
    Send(T),
    /// It need not: it is a repeat of an event that had its effect. It is answered as an accepted one.
    Done(Done<A>),
    /// It may not. The problem names the subject and the event, for the log.
    Refuse(Problem),
}

/// A repeat of an event that had its effect.
#[derive(Debug)]
pub struct Done<A = ()> {
    /// The subject and the event id, for the answer and the log.
    pub about: About,
    /// What the 202 of a single event says of it.
    pub answer: A,
}

impl Outcome {
    /// Whether Kafka certainly does not have the event, and never will.
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::QueueFull | Self::NoTopic | Self::Closed | Self::TooLarge => true,
            Self::Accepted { .. } | Self::Unknown => false,
        }
    }

    /// The result for the caller; the log has the outcome itself.
    pub fn verdict(self) -> Result<(), (Code, &'static str)> {
        Err(match self {
            Self::Accepted { .. } => return Ok(()),
            Self::QueueFull => (Code::QUEUE_FULL, "the event was not accepted; try again later"),
            Self::NoTopic => (Code::TOPIC_MISSING, "the Kafka topic for events does not exist; try again later"),
            Self::Closed => (Code::SHUTTING_DOWN, "the event was not accepted; try again"),
            Self::TooLarge => (Code::BODY_TOO_LARGE, "the event is too large for its topic"),
            Self::Unknown => (
                Code::OUTCOME_UNKNOWN,
                "the event may have been written; send it again with this event_id: it counts once",
            ),
        })
    }
}

/// The dependencies of an endpoint that do not depend on the domain.
#[derive(Clone)]
pub struct Dependencies {
    pub tokens: Arc<Tokens>,
    pub rates: Rates,
    pub in_flight: InFlight,
    /// The time from the end of the body to the response.
    pub request_timeout: Duration,
    pub bodies: BodyLimits,
    pub access_log: AccessLog,
}

/// Accepts the events of a domain, and writes them to its topic.
pub(crate) struct Endpoint<I> {
    ingest: I,
    producer: Producer,
    given: Dependencies,
}

/// The routes that accept events: one at a time, and batches.
pub fn routes<I: Ingest>(
    [one, many]: [&'static str; 2],
    ingest: I,
    producer: Producer,
    given: Dependencies,
) -> [Route; 2] {
    let endpoint = Arc::new(Endpoint { ingest, producer, given });
    let one = (one, post(single::submit::<I>).with_state(Arc::clone(&endpoint)));
    [one, (many, post(batch::submit::<I>).with_state(endpoint))]
}

/// The subject and the event id of a record.
fn about<I: Ingest>(record: &Outgoing) -> About {
    let subject = Subject::new(I::SUBJECT, record.envelope.subject.clone());
    About { subject: Some(subject), event_id: Some(record.envelope.id.clone()) }
}

fn acknowledged(record: &Outgoing, outcome: Outcome) {
    if let Outcome::Accepted { partition, offset } = outcome {
        tracing::debug!(key = record.envelope.key.as_str(), partition, offset, "acknowledged");
    }
}
