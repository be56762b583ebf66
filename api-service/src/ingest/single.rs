//! `POST` of one event.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::runtime::json::BodyError;
use time::OffsetDateTime;

use super::format::Format;
use super::named::named;
use super::request_reader::ReadRequest;
use super::trace::Publishing;
use super::{Admission, Endpoint, Ingest, about, acknowledged};
use crate::http::problem::{Code, Problem};
use crate::http::subject::About;

/// A payload of 256 KiB, and the members around it.
pub(crate) const MAX_BODY: usize = (256 + 4) * 1024;

#[derive(Serialize)]
struct Accepted<'a> {
    request_id: &'a str,
    status: &'a str,
    event_id: &'a str,
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
        Some(Admission::Refuse(problem)) => return Err(problem),
        None => return Err(Problem::new(Code::INTERNAL, Code::INTERNAL.title())),
    };

    let publishing = Publishing::begin(parts, producer.topic());
    let record = intake.record(ingest, &admitted, OffsetDateTime::now_utc(), &publishing);
    let outcome = producer.send(&record, *deadline).await;
    publishing.end(&[outcome]);
    acknowledged(&record, outcome);
    let about = about::<I>(&record);
    ingest.settle(admitted, outcome).map_err(|(code, detail)| Problem::new(code, detail).about(about.clone()))?;

    let event_id = record.envelope.id.as_str();
    let accepted = Accepted { request_id: intake.request_id(), status: "accepted", event_id };
    let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
    response.extensions_mut().insert(about);
    Ok(response)
}

fn not_an_event(error: BodyError, about: About) -> Problem {
    let problem = match error {
        BodyError::NotJson(why) => Problem::new(Code::NOT_JSON, format!("the body is not JSON: {why}")),
        BodyError::NotAnEvent(faults) => {
            Problem::new(Code::INVALID_EVENT, "see errors for what is wrong with it").with_errors(faults)
        }
    };
    problem.logged_about(about)
}
