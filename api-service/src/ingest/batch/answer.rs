//! The results of a batch, and its response.
//!
//! If all events have the same result, the response is the one that a single event would get; otherwise it is a 207
//! with an entry for each event, in order. With `Prefer: handling=lenient` it is a 202 instead, unless an event should be
//! sent again: senders that do not read the body need nothing else. With `handling=strict` an invalid event refuses the
//! whole batch.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::kafka::ids::EventId;
use shared::runtime::json::{BodyError, Fault};

use super::preference::Handling;
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
    /// For the log.
    pub(super) about: About,
    /// Whether the response has the `event_id`.
    event_is_told: bool,
    pub(super) errors: Vec<Fault>,
    /// The seconds after which the event may be sent again.
    retry_after: Option<u32>,
    /// It can never be accepted all the same.
    is_for_good: bool,
}

impl Refusal {
    /// An event that its domain refuses.
    pub(super) fn of(problem: &Problem) -> Self {
        let (code, about) = (problem.code, problem.about.clone());
        let (retry_after, is_for_good) = (problem.retry_after, problem.is_final);
        Self { code, about, event_is_told: true, errors: Vec::new(), retry_after, is_for_good }
    }

    /// An invalid event; `about` has its ids, as far as they could be read.
    pub(super) fn invalid(error: BodyError, about: About) -> Self {
        let (code, errors) = match error {
            BodyError::NotJson(why) => {
                let fault = Fault { pointer: String::new(), detail: format!("is not JSON: {why}") };
                (Code::NOT_JSON, vec![fault])
            }
            BodyError::NotAnEvent(errors) => (Code::INVALID_EVENT, errors),
        };
        Self { code, about, event_is_told: false, errors, retry_after: None, is_for_good: false }
    }
}

/// The result of one event: without a code it is accepted.
#[derive(Debug, Default, Serialize)]
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
    /// The seconds after which the event may be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    /// It can never be accepted all the same.
    #[serde(skip)]
    is_for_good: bool,
    /// Whether its result comes from Kafka.
    #[serde(skip)]
    is_sent: bool,
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
    /// An event whose result comes from Kafka.
    pub(super) fn wait_for(&mut self, about: About) {
        let event_id = about.event_id.clone();
        self.push(Item { event_id, about, is_sent: true, ..Item::default() }, None);
    }

    /// An event that had its effect before.
    pub(super) fn accept(&mut self, about: About) {
        let event_id = about.event_id.clone();
        self.push(Item { event_id, about, ..Item::default() }, None);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let index = self.items.len();
        let Refusal { code, about, event_is_told, errors, retry_after, is_for_good } = refusal;
        let event_id = about.event_id.clone().filter(|_| event_is_told);
        let (errors, more) = self.told(index, errors);
        self.push(Item { event_id, about, errors, more, retry_after, is_for_good, ..Item::default() }, Some(code));
    }

    /// The faults of an event, as far as there is room for them, and the number of the others.
    fn told(&mut self, index: usize, faults: Vec<Fault>) -> (Vec<Fault>, usize) {
        let mut told = Vec::new();
        let mut more = 0;
        for Fault { pointer, detail } in faults {
            let bytes = self.fault_bytes + pointer.len() + detail.len();
            if self.faults == MAX_FAULTS || bytes > MAX_FAULT_BYTES {
                more += 1;
                continue;
            }
            (self.faults, self.fault_bytes) = (self.faults + 1, bytes);
            told.push(Fault { pointer: format!("/{index}{pointer}"), detail });
        }
        (told, more)
    }

    fn push(&mut self, item: Item, code: Option<Code>) {
        self.items.push(Item { index: self.items.len(), status: status(code).as_u16(), code, ..item });
    }

    pub(super) fn has_refusals(&self) -> bool {
        self.items.iter().any(|item| item.code.is_some())
    }

    /// About the most bytes of the response, so that it has room for every refusal; 0 if no event is refused so far.
    pub(super) fn most_bytes(&self) -> usize {
        if !self.has_refusals() {
            return 0;
        }
        self.items.len() * MAX_ITEM + self.fault_bytes + self.faults * MAX_AROUND_FAULT
    }

    /// Sets the results of the events that went to Kafka, in order.
    pub(super) fn settle(&mut self, outcomes: impl Iterator<Item = Result<(), (Code, &'static str)>>) {
        let waiting = self.items.iter_mut().filter(|item| item.is_sent);
        for (item, outcome) in waiting.zip(outcomes) {
            if let Err((code, _)) = outcome {
                (item.status, item.code) = (status(Some(code)).as_u16(), Some(code));
            }
        }
    }

    pub(super) fn answer(mut self, request_id: &str, handling: Option<Handling>) -> Result<Response, Problem> {
        let accepted = self.items.iter().filter(|item| item.code.is_none()).count();
        let told = |status, items| Body { request_id, status, accepted, items };
        if accepted == self.items.len() {
            return Ok((StatusCode::ACCEPTED, Json(told("accepted", &[]))).into_response());
        }
        let is_lenient = handling == Some(Handling::Lenient);
        let again = if is_lenient { self.again() } else { None };
        if let Some(code) = self.shared().filter(|code| !is_lenient || again.is_some() && !is_refusal(*code)) {
            return Err(self.refused(code));
        }
        for item in self.items.iter_mut().filter(|item| item.more > 0) {
            item.errors.push(Fault::more(format!("/{}", item.index), item.more));
        }
        if let Some(code) = again {
            let detail = format!(
                "{accepted} of {} events were accepted; send the batch again with these event_ids: each counts once",
                self.items.len()
            );
            // Senders that do not read the answer would never repeat another 4xx.
            let repeatable = if is_refusal(code) { Code::RETRY_LATER } else { code };
            let problem = Problem::new(repeatable, detail).with_items(self.outcomes());
            return Err(self.in_time(problem, |item| has_status_of(code)(item) && !item.is_final()));
        }
        let status = if is_lenient { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
        Ok((status, Json(told("partial", &self.items))).into_response())
    }

    /// The code for a batch of which an event should be sent again: the first of those of 503, of 429, of another 4xx,
    /// or of the others.
    fn again(&self) -> Option<Code> {
        let codes = self.items.iter().filter(|item| !item.is_final()).filter_map(|item| item.code);
        codes.min_by_key(|code| match code.status() {
            // This one requires the most care.
            _ if *code == Code::OUTCOME_UNKNOWN => 0,
            StatusCode::SERVICE_UNAVAILABLE => 1,
            StatusCode::TOO_MANY_REQUESTS => 2,
            status if status.is_client_error() => 3,
            _ => 4,
        })
    }

    /// Refuses a batch of which nothing was sent, because events of it are refused. Only these stay in `items`.
    pub(super) fn refuse_all(&mut self) -> Problem {
        let count = self.items.len();
        self.items.retain(|item| item.code.is_some());
        let detail = format!("{} of {count} events are refused, see errors; none was sent", self.items.len());
        let first = self.items.iter().find(|item| item.is_final()).or(self.items.first());
        let code = first.and_then(|item| item.code).unwrap_or(Code::INTERNAL);
        let mut errors = Vec::new();
        let mut more = 0;
        for mut item in std::mem::take(&mut self.items) {
            if item.errors.is_empty()
                && item.more == 0
                && let Some(code) = item.code
            {
                let fault = Fault { pointer: String::new(), detail: code.title().to_owned() };
                (item.errors, item.more) = self.told(item.index, vec![fault]);
            }
            errors.append(&mut item.errors);
            more += item.more;
            self.items.push(item);
        }
        if more > 0 {
            errors.push(Fault::more(String::new(), more));
        }
        self.in_time(Problem::new(code, detail).with_errors(errors), has_status_of(code))
    }

    /// Adds the longest time after which an event may be sent again, of the events that decide about the answer: one
    /// that is over its limit until tomorrow must not delay those that may be sent again in a second.
    fn in_time(&self, problem: Problem, decides: impl Fn(&Item) -> bool) -> Problem {
        let deciding = self.items.iter().filter(|item| decides(item));
        match deciding.filter_map(|item| item.retry_after).max() {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        }
    }

    /// The result of each event, as JSON.
    fn outcomes(&self) -> Option<Box<RawValue>> {
        to_raw_value(&self.items).ok()
    }

    /// The code for all events, if they have the same result.
    fn shared(&self) -> Option<Code> {
        let first = self.items.first()?;
        if self.items.iter().any(|item| !item.ends_like(first)) {
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
        let items = if is_temporary(code) { self.outcomes() } else { None };
        let mut errors: Vec<Fault> = self.items.iter_mut().flat_map(|item| item.errors.drain(..)).collect();
        let more = self.items.iter().map(|item| item.more).sum();
        if more > 0 {
            errors.push(Fault::more(String::new(), more));
        }
        self.in_time(Problem::new(code, detail).with_errors(errors).with_items(items), has_status_of(code))
    }
}

impl Item {
    /// Whether two results are the same. Not JSON and not an event are one result, and so is each 503: nothing else is
    /// to be done than to send the events again. A refusal for a while and one for good are two, although they have the
    /// same code.
    fn ends_like(&self, other: &Self) -> bool {
        let [one, another] = [self, other].map(|item| match item.code {
            Some(Code::NOT_JSON) => Some(Code::INVALID_EVENT),
            code => code,
        });
        let is_unavailable = |item: &Self| item.status == StatusCode::SERVICE_UNAVAILABLE.as_u16();
        let lasts = |item: &Self| (item.retry_after.is_some(), item.is_final());
        one == another && lasts(self) == lasts(other) || is_unavailable(self) && is_unavailable(other)
    }

    /// Whether the event can never be accepted as it is: it is refused, and not just for a while.
    fn is_final(&self) -> bool {
        self.is_for_good || self.retry_after.is_none() && self.code.is_some_and(is_refusal)
    }
}

/// Whether every event with this code may be accepted later, as it is.
fn is_temporary(code: Code) -> bool {
    matches!(code.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Whether an event with this code can never be accepted, unless it is refused for a while.
fn is_refusal(code: Code) -> bool {
    code.status().is_client_error() && !is_temporary(code)
}

fn has_status_of(code: Code) -> impl Fn(&Item) -> bool {
    move |item| item.status == code.status().as_u16()
}

fn status(code: Option<Code>) -> StatusCode {
    code.map_or(StatusCode::ACCEPTED, Code::status)
}

pub(super) fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::INVALID_EVENT, detail)
}

#[cfg(test)]
mod tests;
