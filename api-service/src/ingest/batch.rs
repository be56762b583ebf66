//! `POST` of a batch: each event has its own outcome. The events go to Kafka in order, and one wait covers all of them.

mod answer;
mod log;
mod preference;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::value::RawValue;
use shared::kafka::Outgoing;
use shared::runtime::json::items::{self, BatchError};
use shared::runtime::json::{BodyError, Fault, json};
use time::{Duration, OffsetDateTime};

use self::answer::{Batch, Refusal};
use self::preference::Handling;
use super::format::BatchFormat;
use super::named::named;
use super::producer::Outcome;
use super::request_reader::ReadRequest;
use super::trace::Publishing;
use super::{Admission, Done, Endpoint, Ingest, Item, about, acknowledged};
use crate::http::problem::{Code, Problem};
use crate::http::rate::Kind;
use crate::http::response_budget;
use crate::http::subject::About;

pub(crate) const MAX_EVENTS: usize = 1_000;
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;

pub(crate) async fn submit<I: Ingest>(
    State(endpoint): State<Arc<Endpoint<I>>>,
    request: Request,
) -> Result<Response, Response> {
    let mut intake = ReadRequest::read(&endpoint, request, MAX_BODY, 0, BatchFormat::of).await?;
    let handling = Handling::of(&intake.parts.headers);
    let answer = preference::applied(handling, accept(&endpoint, &mut intake, handling).await);
    let answer = answer.map_err(IntoResponse::into_response)?;
    Ok(response_budget::within(intake.room, answer).await)
}

async fn accept<I: Ingest>(
    endpoint: &Endpoint<I>,
    intake: &mut ReadRequest<BatchFormat>,
    handling: Option<Handling>,
) -> Result<Response, Problem> {
    let Endpoint { ingest, producer, given } = endpoint;
    let items = Items::of(intake.format, &intake.bytes);
    // A body that is not a batch costs one, like a body that is not an event; and so does an empty batch.
    let count = items.as_ref().map_or(1, |items| u32::try_from(items.len()).unwrap_or(u32::MAX));
    given.rates.charge(Kind::Events, &intake.parts, intake.caller.quota(), count.max(1))?;
    let items = items?;
    let mut batch = Batch::default();
    if items.len() == 0 {
        return batch.answer(intake.request_id(), handling);
    }

    let mut refusals: Vec<Option<Refusal>> = Vec::with_capacity(items.len());
    let mut submissions = Vec::with_capacity(items.len());
    for place in 0..items.len() {
        // Parsing 8 MiB takes a while, and other tasks need this thread, too.
        tokio::task::coop::consume_budget().await;
        refusals.push(match items.parse(place, ingest) {
            Ok(submission) => {
                submissions.push(submission);
                None
            }
            Err(refusal) => Some(refusal),
        });
    }
    let is_strict = handling == Some(Handling::Strict);
    // Of a strict batch with an invalid event, none is admitted: the domain would charge for it.
    let mut admissions = None;
    if !is_strict || refusals.iter().all(Option::is_none) {
        admissions = Some(ingest.admit(&intake.caller, submissions).await.into_iter());
    }

    let publishing = Publishing::begin(&intake.parts, producer.topic());
    let mut accepted_at = OffsetDateTime::now_utc();
    let (mut admitted, mut records) = (Vec::new(), Vec::<Outgoing>::with_capacity(items.len()));
    for refusal in refusals {
        let verdict = match (refusal, &mut admissions) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(admissions)) => admissions.next().map_or_else(lost, Ok),
            (None, None) => {
                batch.wait_for(About::default());
                continue;
            }
        };
        match verdict {
            Ok(Admission::Send(event)) => {
                let record = intake.record(ingest, &event, accepted_at, &publishing);
                // The history sorts by this time, at the resolution of PostgreSQL, and has to keep the order of the
                // batch.
                accepted_at += Duration::MICROSECOND;
                batch.wait_for(about::<I>(&record));
                records.push(record);
                admitted.push(event);
            }
            Ok(Admission::Done(Done { about, .. })) => batch.accept(about),
            Ok(Admission::Refuse(problem)) => batch.refuse(Refusal::of(&problem)),
            Err(refusal) => batch.refuse(refusal),
        }
    }
    // If there is no memory for the response, the batch has to be refused before any event is sent.
    let covered = intake.room.cover(intake.bytes.len() + batch.most_bytes());
    if covered.is_err() || (is_strict && batch.has_refusals()) {
        for event in admitted {
            // The domain takes back what it charged for an event that was not accepted. Nobody needs the verdict.
            let _ = ingest.settle(event, Outcome::QueueFull);
        }
        covered?;
        let problem = batch.refuse_all();
        log::items(intake.request_id(), given.access_log, &batch.items).await;
        return Err(problem);
    }
    let outcomes = producer.send_all(&records, intake.deadline).await;
    publishing.end(&outcomes);
    let settled = admitted.into_iter().zip(&records).zip(outcomes).map(|((event, record), outcome)| {
        acknowledged(record, outcome);
        ingest.settle(event, outcome)
    });
    batch.settle(settled);
    log::items(intake.request_id(), given.access_log, &batch.items).await;
    batch.answer(intake.request_id(), handling)
}

/// For an event on which its domain gave no verdict.
fn lost<T>() -> Result<T, Refusal> {
    Err(Refusal::of(&Problem::new(Code::INTERNAL, Code::INTERNAL.title())))
}

enum Items<'a> {
    Array(Vec<&'a RawValue>, &'a Bytes, BatchFormat),
    Lines(Vec<items::Line>),
}

impl<'a> Items<'a> {
    fn of(format: BatchFormat, bytes: &'a Bytes) -> Result<Self, Problem> {
        let items = match format {
            BatchFormat::Array | BatchFormat::CloudEvents => {
                Self::Array(items::array(bytes, MAX_EVENTS).map_err(no_batch)?, bytes, format)
            }
            BatchFormat::Lines => Self::Lines(items::lines(bytes, MAX_EVENTS).map_err(no_batch)?),
        };
        // The JSON format of CloudEvents allows an empty batch (section 4.3).
        if items.len() == 0 && format != BatchFormat::CloudEvents {
            return Err(answer::invalid("the batch has no event"));
        }
        Ok(items)
    }

    fn len(&self) -> usize {
        match self {
            Self::Array(items, ..) => items.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    /// Parses an event; a refusal has the ids that the event names.
    fn parse<I: Ingest>(&self, place: usize, ingest: &I) -> Result<I::Submission, Refusal> {
        let item = self.get(place).map_err(|error| Refusal::invalid(error, About::default()))?;
        ingest.parse(item).map_err(|error| Refusal::invalid(self.placed(place, error), named(item, I::SUBJECT)))
    }

    fn get(&self, place: usize) -> Result<Item<'_>, BodyError> {
        let none = || BodyError::NotAnEvent(Vec::new());
        match self {
            Self::Array(items, bytes, format) => {
                let item = items.get(place).ok_or_else(none)?;
                let is_ours = *format == BatchFormat::Array;
                Ok(if is_ours { Item::Plain(bytes, item) } else { Item::Structured(bytes, item) })
            }
            // A line that is not JSON is one invalid event, and does not affect the others.
            Self::Lines(lines) => {
                let line = lines.get(place).ok_or_else(none)?;
                Ok(Item::Plain(&line.text, json(&line.text).map_err(|error| self.placed(place, error))?))
            }
        }
    }

    /// Adds the number of the line to an error.
    fn placed(&self, place: usize, error: BodyError) -> BodyError {
        match (self, error) {
            (Self::Lines(lines), BodyError::NotJson(why)) => {
                let number = lines.get(place).map_or(0, |line| line.number);
                BodyError::NotJson(format!("{why} (line {number} of the body)"))
            }
            (_, error) => error,
        }
    }
}

fn no_batch(error: BatchError) -> Problem {
    match error {
        BatchError::NotJson(why) => Problem::new(Code::NOT_JSON, format!("the body is not JSON: {why}")),
        BatchError::NotAnArray => {
            let fault = Fault { pointer: String::new(), detail: "must be a JSON array of events".into() };
            answer::invalid("the body is not a batch").with_errors(vec![fault])
        }
        BatchError::TooMany(max) => Problem::new(Code::TOO_MANY_EVENTS, format!("a batch may hold up to {max} events")),
    }
}
