//! `POST /events/batch`: token → role → body → rate → each event validated → Kafka, in order → one wait →
//! an outcome for each.

mod answer;
mod log;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use shared::devices::submission::{self, Submission};
use shared::kafka::Outgoing;
use shared::runtime::json::batch::{self, BatchError};
use shared::runtime::json::{BodyError, Fault};
use time::{Duration, OffsetDateTime};

use self::answer::{Batch, Refusal};
use crate::answers;
use crate::app::App;
use crate::auth::Writer;
use crate::events;
use crate::format::BatchFormat;
use crate::intake::Intake;
use crate::named;
use crate::problem::{About, Code, Problem};
use crate::trace::Publishing;

pub(crate) const MAX_EVENTS: usize = 1_000;
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;

pub async fn submit(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let mut intake = Intake::read(&app, request, MAX_BODY, 0, BatchFormat::of).await?;
    let answer = accept(&app, &mut intake).await.map_err(IntoResponse::into_response)?;
    Ok(answers::within(intake.room, answer).await)
}

async fn accept(app: &App, intake: &mut Intake<BatchFormat>) -> Result<Response, Problem> {
    let Intake { parts, writer, format, bytes, room, deadline } = intake;
    let items = Items::of(format, bytes);
    // What is no batch costs one, as what is no event does.
    writer.charge(items.as_ref().map_or(1, |items| u32::try_from(items.len()).unwrap_or(u32::MAX)))?;
    let items = items?;

    let request_id = events::request_id(parts);
    let publishing = Publishing::begin(parts, app.producer.topic());
    let mut accepted_at = OffsetDateTime::now_utc();
    let mut batch = Batch::default();
    let mut valid: Vec<Outgoing> = Vec::with_capacity(items.len());
    let mut devices = Vec::with_capacity(items.len());
    for place in 0..items.len() {
        // 8 MiB take a while to parse, and others want this thread too.
        tokio::task::coop::consume_budget().await;
        match check(items.parse(place), writer, || named::in_json(items.text(place))) {
            Ok(submission) => {
                let device_id = submission.device_id.clone();
                let event = events::event(submission, accepted_at, request_id, writer, publishing.header());
                // The history sorts by this time, at the resolution of PostgreSQL, and is to keep
                // the order of the batch.
                accepted_at += Duration::MICROSECOND;
                batch.wait_for(device_id.clone(), event.envelope.id.clone());
                valid.push(event);
                devices.push(device_id);
            }
            Err(refusal) => batch.refuse(refusal),
        }
    }
    // An answer that will not fit has to be refused before anything is sent.
    room.cover(bytes.len() + batch.most_bytes())?;
    let outcomes = app.producer.send_all(&valid, *deadline).await;
    publishing.end(&outcomes);
    let outcomes = devices.iter().zip(outcomes).map(|(device_id, outcome)| events::settled(outcome, device_id));
    batch.settle(outcomes);
    log::items(request_id, app.access_log, batch.items()).await;
    batch.answer(request_id)
}

enum Items<'a> {
    Array(Vec<&'a serde_json::value::RawValue>, crate::format::Parse, &'a Bytes),
    Lines(Vec<batch::Line>),
}

impl<'a> Items<'a> {
    fn of(format: &BatchFormat, bytes: &'a Bytes) -> Result<Self, Problem> {
        let items = match format {
            BatchFormat::Array(parse) => Self::Array(batch::array(bytes, MAX_EVENTS).map_err(no_batch)?, *parse, bytes),
            BatchFormat::Lines => Self::Lines(batch::lines(bytes, MAX_EVENTS).map_err(no_batch)?),
        };
        if items.len() == 0 {
            return Err(answer::invalid("the batch holds no event"));
        }
        Ok(items)
    }

    fn len(&self) -> usize {
        match self {
            Self::Array(items, ..) => items.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    fn text(&self, place: usize) -> &[u8] {
        match self {
            Self::Array(items, ..) => items.get(place).map_or(&[], |item| item.get().as_bytes()),
            Self::Lines(lines) => lines.get(place).map_or(&[], |line| &line.text),
        }
    }

    fn parse(&self, place: usize) -> Result<Submission, BodyError> {
        let parsed = match self {
            Self::Array(items, parse, bytes) => items.get(place).map(|item| parse(bytes, item)),
            // A line that is not JSON is one bad item: the others are told apart from it all the same.
            Self::Lines(lines) => lines.get(place).map(|line| {
                submission::parse(&line.text).map_err(|error| match error {
                    BodyError::NotJson(why) => BodyError::NotJson(format!("{why} (line {} of the body)", line.number)),
                    other => other,
                })
            }),
        };
        parsed.unwrap_or_else(|| Err(BodyError::NotAnEvent(Vec::new())))
    }
}

fn no_batch(error: BatchError) -> Problem {
    match error {
        BatchError::NotJson(why) => Problem::new(Code::NotJson, format!("the body is not JSON: {why}")),
        BatchError::NotAnArray => {
            let fault = Fault { pointer: String::new(), detail: "must be a JSON array of events".into() };
            answer::invalid("the body is not a batch").with_errors(vec![fault])
        }
        BatchError::TooMany(max) => Problem::new(Code::TooManyEvents, format!("a batch may hold up to {max} events")),
    }
}

/// Refuses an item for what it is, or for whose it is.
fn check(
    parsed: Result<Submission, BodyError>,
    writer: &Writer,
    named: impl FnOnce() -> About,
) -> Result<Submission, Refusal> {
    let submission = parsed.map_err(|error| Refusal::invalid(error, named()))?;
    match writer.allow(&submission.device_id) {
        Ok(()) => Ok(submission),
        Err(problem) => {
            let Submission { device_id, event_id, .. } = submission;
            let about = About { device_id: Some(device_id), event_id: event_id.clone() };
            Err(Refusal { code: problem.code, event_id, about, errors: Vec::new() })
        }
    }
}
