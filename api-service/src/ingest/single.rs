//! `POST` of one event.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::kafka::ids::EventId;
use shared::runtime::json::BodyError;
use time::OffsetDateTime;

use super::format::Format;
use super::named::named;
use super::request_reader::ReadRequest;
use super::trace::Publishing;
use super::{Admission, Done, Endpoint, Ingest, about, acknowledged};
use crate::http::problem::{Code, Problem};
use crate::http::subject::About;

/// A payload of 256 KiB, and the members around it.
pub(crate) const MAX_BODY: usize = (256 + 4) * 1024;

#[derive(Serialize)]
struct Accepted<'a, A> {
    request_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(flatten)]
    answer: A,
}

pub(crate) async fn submit<I: Ingest>(
    State(endpoint): State<Arc<Endpoint<I>>>,
    request: Request,
) -> Result<Response, Response> {
    let intake = ReadRequest::read(&endpoint, request, MAX_BODY, 1, Format::of).await?;
    accept(&endpoint, &intake).await.map_err(IntoResponse::into_response)
}

async fn accept<I: Ingest>(endpoint: &Endpoint<I>, intake: &ReadRequest<Format>) -> Result<Response, Problem> {
    let Endpoint { ingest, producer, .. } = endpoint;
    let ReadRequest { parts, caller, format, bytes, deadline, .. } = intake;
    let item = format.item(&parts.headers, bytes).map_err(|error| not_an_event(error, About::default()))?;
    let submission = ingest.parse(item).map_err(|error| not_an_event(error, named(item, I::SUBJECT)))?;
    let admitted = match ingest.admit(caller, vec![submission]).await.pop() {
        Some(Admission::Send(admitted)) => admitted,
        Some(Admission::Done(Done { about, answer })) => return Ok(accepted(intake.request_id(), about, answer)),
        Some(Admission::Refuse(problem)) => return Err(problem),
        None => return Err(Problem::new(Code::INTERNAL, Code::INTERNAL.title())),
    };

    let publishing = Publishing::begin(parts, producer.topic());
    let accepted_at = OffsetDateTime::now_utc();
    let record = intake.record(ingest, &admitted, accepted_at, &publishing);
    let answer = ingest.answer(&admitted, accepted_at);
    let outcome = producer.send(&record, *deadline).await;
    publishing.end(&[outcome]);
    acknowledged(&record, outcome);
    let about = about::<I>(&record);
    ingest.settle(admitted, outcome).map_err(|(code, detail)| Problem::new(code, detail).about(about.clone()))?;
    Ok(accepted(intake.request_id(), about, answer))
}

fn accepted(request_id: &str, about: About, answer: impl Serialize) -> Response {
    let event_id = about.event_id.as_ref().map(EventId::as_str);
    let mut response =
        (StatusCode::ACCEPTED, Json(Accepted { request_id, status: "accepted", event_id, answer })).into_response();
    response.extensions_mut().insert(about);
    response
}

fn not_an_event(error: BodyError, about: About) -> Problem {
    Problem::of_body(error, Code::INVALID_EVENT, "see errors for what is wrong with it").logged_about(about)
}
