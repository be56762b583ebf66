//! The results of a batch, and its response.
//!
//! If all events have the same result, the response is the one that a single event would get; otherwise it is a 207
//! with an entry for each event, in order.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::kafka::ids::EventId;
use shared::runtime::json::{BodyError, Fault};

use crate::http::problem::{Code, Problem};
use crate::http::subject::About;

/// The most faults that one response lists, and the most bytes of their pointers and details: the response must not be
/// larger than the request. The rest is counted.
const MAX_FAULTS: usize = 100;
const MAX_FAULT_BYTES: usize = 16 * 1024;
/// The most bytes of an item without its faults, and of the JSON around a fault.
const MAX_ITEM: usize = 256;
const MAX_AROUND_FAULT: usize = 64;

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: Code,
    /// For the caller.
    pub(super) event_id: Option<EventId>,
    /// For the log.
    pub(super) about: About,
    pub(super) errors: Vec<Fault>,
}

impl Refusal {
    /// An event that its domain refuses.
    pub(super) fn of(problem: &Problem) -> Self {
        let (code, about) = (problem.code, problem.about.clone());
        Self { code, event_id: about.event_id.clone(), about, errors: Vec::new() }
    }

    /// An invalid event; `about` has its ids, as far as they could be read.
    pub(super) fn invalid(error: BodyError, about: About) -> Self {
        match error {
            BodyError::NotJson(why) => Self {
                code: Code::NOT_JSON,
                event_id: None,
                about,
                errors: vec![Fault { pointer: String::new(), detail: format!("is not JSON: {why}") }],
            },
            BodyError::NotAnEvent(errors) => Self { code: Code::INVALID_EVENT, event_id: None, about, errors },
        }
    }
}

/// The result of one event: without a code it is accepted.
#[derive(Debug, Serialize)]
pub(super) struct Item {
    pub(super) index: usize,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Code>,
    /// For the log.
    #[serde(skip)]
    pub(super) about: About,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    event_id: Option<EventId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    #[serde(skip)]
    more: usize,
}

fn text<S: serde::Serializer>(id: &Option<EventId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_ref().map(EventId::as_str).unwrap_or_default())
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    faults: usize,
    fault_bytes: usize,
}

#[derive(Serialize)]
struct Body<'a> {
    request_id: &'a str,
    status: &'a str,
    accepted: usize,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    items: &'a [Item],
}

impl Batch {
    pub(super) fn wait_for(&mut self, about: About) {
        self.push(None, about.event_id.clone(), about, Vec::new(), 0);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let index = self.items.len();
        let mut told = Vec::new();
        let mut more = 0;
        for Fault { pointer, detail } in refusal.errors {
            let bytes = self.fault_bytes + pointer.len() + detail.len();
            if self.faults == MAX_FAULTS || bytes > MAX_FAULT_BYTES {
                more += 1;
                continue;
            }
            (self.faults, self.fault_bytes) = (self.faults + 1, bytes);
            told.push(Fault { pointer: format!("/{index}{pointer}"), detail });
        }
        self.push(Some(refusal.code), refusal.event_id, refusal.about, told, more);
    }

    fn push(&mut self, code: Option<Code>, event_id: Option<EventId>, about: About, errors: Vec<Fault>, more: usize) {
        let (index, status) = (self.items.len(), status(code).as_u16());
        self.items.push(Item { index, status, code, about, event_id, errors, more });
    }

    /// About the most bytes of the response, so that it has room for every refusal; 0 if no event is refused so far.
    pub(super) fn most_bytes(&self) -> usize {
        if self.items.iter().all(|item| item.code.is_none()) {
            return 0;
        }
        self.items.len() * MAX_ITEM + self.fault_bytes + self.faults * MAX_AROUND_FAULT
    }

    /// Sets the results of the events that went to Kafka, in order.
    pub(super) fn settle(&mut self, outcomes: impl Iterator<Item = Result<(), (Code, &'static str)>>) {
        let waiting = self.items.iter_mut().filter(|item| item.code.is_none());
        for (item, outcome) in waiting.zip(outcomes) {
            if let Err((code, _)) = outcome {
                (item.status, item.code) = (status(Some(code)).as_u16(), Some(code));
            }
        }
    }

    pub(super) fn answer(mut self, request_id: &str) -> Result<Response, Problem> {
        let accepted = self.items.iter().filter(|item| item.code.is_none()).count();
        let told = |status, items| Body { request_id, status, accepted, items };
        if accepted == self.items.len() {
            return Ok((StatusCode::ACCEPTED, Json(told("accepted", &[]))).into_response());
        }
        if let Some(code) = self.shared() {
            return Err(self.refused(code));
        }
        for item in self.items.iter_mut().filter(|item| item.more > 0) {
            item.errors.push(Fault::more(format!("/{}", item.index), item.more));
        }
        Ok((StatusCode::MULTI_STATUS, Json(told("partial", &self.items))).into_response())
    }

    /// The code for all events, if they have the same result.
    fn shared(&self) -> Option<Code> {
        let first = self.items.first()?;
        if self.items.iter().any(|item| item.end() != first.end()) {
            return None;
        }
        let is = |code| self.items.iter().any(|item| item.code == Some(code));
        // Only lines that are not JSON: the body is not NDJSON. Of several codes of 503, the one that requires more
        // care when the events are sent again.
        [Code::INVALID_EVENT, Code::OUTCOME_UNKNOWN].into_iter().find(|code| is(*code)).or(first.code)
    }

    fn refused(&mut self, code: Code) -> Problem {
        let detail = match code {
            Code::INVALID_EVENT => "no event of the batch is valid",
            Code::NOT_JSON => "none of the events is JSON, see errors",
            Code::BODY_TOO_LARGE => "the events are too large for their topic",
            Code::OUTCOME_UNKNOWN => {
                "events may have been written; send them again with these event_ids: each counts once"
            }
            _ if code.status() == StatusCode::SERVICE_UNAVAILABLE => "no event was accepted; try again later",
            _ => code.title(),
        };
        // A caller that gave no event_ids can still send the same events again.
        let items = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| to_raw_value(&self.items).ok());
        let items: Option<Box<RawValue>> = items.flatten();
        let mut errors: Vec<Fault> = self.items.iter_mut().flat_map(|item| item.errors.drain(..)).collect();
        let more = self.items.iter().map(|item| item.more).sum();
        if more > 0 {
            errors.push(Fault::more(String::new(), more));
        }
        Problem::new(code, detail).with_errors(errors).with_items(items)
    }
}

impl Item {
    /// The status that decides whether results are the same: not JSON and not an event are one result.
    fn end(&self) -> StatusCode {
        status(if self.code == Some(Code::NOT_JSON) { Some(Code::INVALID_EVENT) } else { self.code })
    }
}

fn status(code: Option<Code>) -> StatusCode {
    code.map_or(StatusCode::ACCEPTED, Code::status)
}

pub(super) fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::INVALID_EVENT, detail)
}
