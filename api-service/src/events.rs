//! `POST /events`: token → role → body → validate → Kafka → 202.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::devices::submission::Submission;
use shared::devices::{DeviceId, Event};
use shared::kafka::ids::EventId;
use shared::kafka::{Envelope, Outgoing};
use shared::runtime::json::BodyError;
use time::OffsetDateTime;

use crate::app::App;
use crate::auth::Writer;
use crate::format::Format;
use crate::intake::Intake;
use crate::problem::{About, Code, Problem};
use crate::producer::Outcome;
use crate::request_id;
use crate::trace::Publishing;

/// A payload of 256 KiB, and what stands around it.
pub(crate) const MAX_BODY: usize = (256 + 4) * 1024;

#[derive(Serialize)]
struct Accepted<'a> {
    request_id: &'a str,
    status: &'a str,
    event_id: &'a str,
}

pub async fn submit(State(app): State<App>, request: Request) -> Result<Response, Response> {
    let intake = Intake::read(&app, request, MAX_BODY, 1, Format::of).await?;
    accept(&app, &intake).await.map_err(IntoResponse::into_response)
}

async fn accept(app: &App, intake: &Intake<Format>) -> Result<Response, Problem> {
    let Intake { parts, writer, format, bytes, deadline, .. } = intake;
    let submission = format
        .parse(&parts.headers, bytes)
        .map_err(|error| not_an_event(error).logged_about(format.named(&parts.headers, bytes)))?;
    writer.allow(&submission.device_id).map_err(|problem| {
        let (device_id, event_id) = (Some(submission.device_id.clone()), submission.event_id.clone());
        problem.logged_about(About { device_id, event_id })
    })?;

    let request_id = request_id(parts);
    let publishing = Publishing::begin(parts, app.producer.topic());
    let device_id = submission.device_id.clone();
    let event = event(submission, OffsetDateTime::now_utc(), request_id, writer, publishing.header());
    let about = About { device_id: Some(device_id.clone()), event_id: Some(event.envelope.id.clone()) };
    let outcome = app.producer.send(&event, *deadline).await;
    publishing.end(&[outcome]);
    settled(outcome, &device_id).map_err(|(code, detail)| Problem::new(code, detail).about(about.clone()))?;

    let accepted = Accepted { request_id, status: "accepted", event_id: event.envelope.id.as_str() };
    let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
    response.extensions_mut().insert(about);
    Ok(response)
}

/// The request's name, for the answer and for the event.
pub(crate) fn request_id(parts: &Parts) -> &str {
    request_id::text(parts.extensions.get())
}

fn not_an_event(error: BodyError) -> Problem {
    match error {
        BodyError::NotJson(why) => Problem::new(Code::NotJson, format!("the body is not JSON: {why}")),
        BodyError::NotAnEvent(faults) => {
            Problem::new(Code::InvalidEvent, "see errors for what is wrong with it").with_errors(faults)
        }
    }
}

pub(crate) fn event(
    submission: Submission,
    accepted_at: OffsetDateTime,
    request_id: &str,
    writer: &Writer,
    traceparent: Option<String>,
) -> Outgoing {
    let Submission { device_id, event_type, event_id, occurred_at, payload } = submission;
    let source = Event::source(&device_id);
    let event = Event { device_id, event_type, payload };
    let envelope = Envelope {
        occurred_at: occurred_at.unwrap_or(accepted_at),
        request_id: Some(request_id.to_owned()),
        user_id: Some(writer.subject().to_owned()),
        traceparent,
        ..event.envelope(event_id.unwrap_or_else(EventId::generate), accepted_at)
    };
    Outgoing { envelope, source }
}

/// What Kafka's verdict means for the caller; what it was is in the log.
pub(crate) fn settled(outcome: Outcome, device_id: &DeviceId) -> Result<(), (Code, &'static str)> {
    Err(match outcome {
        Outcome::Accepted { partition, offset } => {
            tracing::debug!(%device_id, partition, offset, "acknowledged");
            return Ok(());
        }
        Outcome::QueueFull => (Code::QueueFull, "the event was not taken; try again later"),
        Outcome::NoTopic => (Code::TopicMissing, "Kafka has no topic for events; try again later"),
        Outcome::Closed => (Code::ShuttingDown, "the event was not taken; try again"),
        Outcome::TooLarge => (Code::BodyTooLarge, "the event is too large for its topic"),
        Outcome::Unknown => (
            Code::OutcomeUnknown,
            "the event may or may not have been written; send it again with this event_id, it counts once",
        ),
    })
}
