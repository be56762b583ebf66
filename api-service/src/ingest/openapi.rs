//! The operations that accept events, in the OpenAPI document. Each domain adds the schema of its events.

mod schemas;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::batch::MAX_EVENTS;
pub use self::schemas::part;
use super::{batch, single};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, REQUEST_ID, TOKEN, answers, parameters, rated, rates, security};
use crate::http::openapi::schemas::{object, schema};
use crate::http::problem::Code;

/// The name of a CloudEvents attribute, or of the data.
const ATTRIBUTE: &str = "^([a-z0-9]+|data_base64)$";
/// A media type whose data is JSON.
const JSON_TYPE: &str = r"^\s*[^;/]*/([^;]*\+)?[Jj][Ss][Oo][Nn]\s*(;[\s\S]*)?$";

/// The errors that every submission may return.
const SUBMISSION: [Code; 12] = [
    Code::BAD_REQUEST,
    Code::NOT_JSON,
    Code::REQUEST_TIMEOUT,
    Code::BODY_TOO_LARGE,
    Code::UNSUPPORTED_MEDIA_TYPE,
    Code::UNSUPPORTED_ENCODING,
    Code::INVALID_EVENT,
    Code::QUEUE_FULL,
    Code::TOPIC_MISSING,
    Code::SHUTTING_DOWN,
    Code::OVERLOADED,
    Code::OUTCOME_UNKNOWN,
];

/// How the events of a domain are sent. Schemas are given by name.
pub struct Operations {
    /// The tag of both operations: name and description.
    pub tag: (&'static str, &'static str),
    /// The paths: for one event, and for a batch.
    pub paths: [&'static str; 2],
    pub ids: [&'static str; 2],
    /// The roles that may send, as a sentence.
    pub roles: &'static str,
    /// Further errors of an event.
    pub codes: &'static [Code],
    /// The domain's own form, beside CloudEvents.
    pub own: Option<OwnForm>,
    /// The schema of an event as a CloudEvent; the same name with an `s` is the array.
    pub cloud_event: &'static str,
    pub types: &'static [&'static str],
    pub subject: &'static str,
    /// The schema of `ce-subject` in binary mode, where it is percent-encoded.
    pub subject_in_header: Value,
    pub data: &'static str,
    pub example: Value,
    /// What the answer to one event says beside `Accepted`, if anything.
    pub answer: Option<AnswerForm>,
    /// Whether the settings may let callers without a token come.
    pub is_anonymous: bool,
}

/// The members of the answer to one event that the domain adds.
#[derive(Clone)]
pub struct AnswerForm {
    /// The name of the answer's schema.
    pub schema: &'static str,
    pub required: &'static [&'static str],
    pub properties: Value,
    /// An example of these members.
    pub example: Value,
}

/// The domain's own form of an event.
#[derive(Clone)]
pub struct OwnForm {
    /// The schema of an event; the same name with an `s` is the array.
    pub event: &'static str,
    /// Examples, by name. The page at `/docs` offers the first one.
    pub events: Value,
    /// Examples of arrays.
    pub arrays: Value,
    /// An example with one event on each line.
    pub lines: String,
}

impl Operations {
    /// The part of the document for these operations.
    pub fn part(&self) -> Part {
        let [one, many] = self.paths;
        Part {
            tags: vec![self.tag],
            paths: json!({one: {"post": self.one()}, many: {"post": self.many()}}),
            schemas: self.schemas(),
            ..Part::default()
        }
    }

    /// The form of plain JSON: for a domain without its own form, a CloudEvent.
    fn plain(&self) -> OwnForm {
        self.own.clone().unwrap_or_else(|| OwnForm {
            event: self.cloud_event,
            events: json!({"cloud_event": {"value": self.example}}),
            arrays: json!({"cloud_events": {"value": [self.example]}}),
            lines: self.example.to_string(),
        })
    }

    fn one(&self) -> Value {
        let plain = self.plain();
        let codes = [&TOKEN[..], &SUBMISSION, self.codes];
        let accepted = json!({"request_id": REQUEST_ID, "status": "accepted", "event_id": "reading-0001"});
        let (name, accepted) = match &self.answer {
            None => ("Accepted", accepted),
            Some(own) => (own.schema, merged(accepted, &own.example)),
        };
        let good = json!({"202": answers::json("Kafka holds the event.", name, accepted, rates())});
        let mut parameters = parameters(["X-Request-Id", "X-Correlation-Id", "Traceparent", "Content-Encoding"]);
        parameters.extend(self.attributes());
        json!({
            "operationId": self.ids[0],
            "tags": [self.tag.0],
            "summary": "Sends an event",
            "description": format!(
                "{} The body may have up to {} bytes.\n\n\
                 CloudEvents 1.0 are accepted in structured mode (`application/cloudevents+json`) and in binary mode: \
                 if a request with `application/json`, or another type of JSON such as `application/geo+json`, or no content type, \
                 has `ce-specversion` and the other `ce-` headers, its body is the payload alone, a `{}` instead of a `{}`, whatever its type says. \
                 OpenAPI cannot express that a header selects the schema.\n\n\
                 With 503 `outcome_unknown` the event may have been written: send it again with the same `event_id`.",
                self.roles, single::MAX_BODY, self.data, plain.event
            ),
            "security": security(self.is_anonymous),
            "parameters": parameters,
            "requestBody": {
                "required": true,
                "content": {
                    "application/json": {"schema": schema(plain.event), "examples": plain.events},
                    "application/cloudevents+json": {"schema": schema(self.cloud_event), "example": self.example}
                }
            },
            "responses": answers(good, &codes, &rated(&codes))
        })
    }

    fn many(&self) -> Value {
        let plain = self.plain();
        let codes = [&TOKEN[..], &SUBMISSION, &[Code::TOO_MANY_EVENTS, Code::RETRY_LATER], self.codes];
        let accepted = json!({"request_id": REQUEST_ID, "status": "accepted", "accepted": 2});
        let headers = || rates().into_iter().chain([preference_applied()]);
        let content = json!({
            "application/json": {
                "schema": {"anyOf": [schema("BatchAccepted"), schema("BatchPartial")]},
                "examples": {"accepted": {"value": accepted}, "lenient": {"value": partial()}}
            }
        });
        let good = json!({
            "202": answers::with_content(
                "Kafka holds all events; with `Prefer: handling=lenient` also if `items` lists events that can never be \
                 accepted.",
                content,
                headers()
            ),
            "207": answers::json(
                "The events have different results; `items` lists each.",
                "BatchPartial",
                partial(),
                headers()
            )
        });
        let mut parameters = parameters(["X-Request-Id", "X-Correlation-Id", "Traceparent", "Content-Encoding"]);
        parameters.push(prefer());
        let mut more = rated(&codes);
        let statuses: BTreeSet<_> = more.iter().map(|(status, ..)| *status).collect();
        let (name, header) = preference_applied();
        more.extend(statuses.into_iter().map(|status| (status, name, header.clone())));
        // OpenAPI 3.1 cannot describe a sequence of values: the schema is the array that the lines stand for.
        let lines = json!({
            "schema": {
                "$ref": format!("#/components/schemas/{}s", plain.event),
                "description": "Not an array, but its items, one on each line."
            },
            "example": plain.lines
        });
        json!({
            "operationId": self.ids[1],
            "tags": [self.tag.0],
            "summary": "Sends many events",
            "description": format!(
                "{} Up to {} events and {} bytes: a JSON array, or \
                 NDJSON with an event on each line, or CloudEvents in batched mode.\n\n\
                 If all events have the same result, the answer is the one that a single event would get, with pointers \
                 that begin with the index; with 503, `items` has the `event_id` of each, so that they can be sent \
                 again. Events go to Kafka in their order. If the queue is full at one event, no later event is \
                 accepted. A batch of CloudEvents may be empty.",
                self.roles, MAX_EVENTS, batch::MAX_BODY
            ),
            "security": security(self.is_anonymous),
            "parameters": parameters,
            "requestBody": {
                "required": true,
                "content": {
                    "application/json": {"schema": schema(&format!("{}s", plain.event)), "examples": plain.arrays},
                    "application/x-ndjson": lines.clone(),
                    "application/jsonl": lines,
                    "application/cloudevents-batch+json": {
                        "schema": schema(&format!("{}s", self.cloud_event)), "example": [self.example]
                    }
                }
            },
            "responses": answers(good, &codes, &more)
        })
    }

    /// The schemas of a CloudEvent, and of arrays.
    fn schemas(&self) -> Value {
        let event = self.plain().event;
        let array = |of: &str, least: usize| json!({"type": "array", "minItems": least, "maxItems": MAX_EVENTS, "items": schema(of)});
        let all = json!({
            self.cloud_event: self.cloud_event(),
            format!("{event}s"): array(event, 1),
            format!("{}s", self.cloud_event): array(self.cloud_event, 0)
        });
        let answer = self.answer.as_ref().map(|own| {
            let required = [&schemas::ACCEPTED[..], own.required].concat();
            json!({own.schema: object(&required, merged(schemas::accepted(), &own.properties))})
        });
        merged(all, &answer.unwrap_or_else(|| json!({})))
    }

    fn cloud_event(&self) -> Value {
        json!({
            "type": "object",
            "description": "A CloudEvent 1.0 in the JSON format. Extensions are accepted, not stored and not checked.",
            "required": ["specversion", "type", "source", "id", "subject", "data"],
            "maxProperties": 256,
            "propertyNames": {"pattern": ATTRIBUTE},
            "properties": {
                "specversion": {"const": "1.0"},
                "type": {"enum": self.types},
                "source": {
                    "type": "string", "format": "uri-reference", "minLength": 1,
                    "description": "Required; not stored."
                },
                "id": schema("EventId"),
                "subject": schema(self.subject),
                "time": {
                    "type": ["string", "null"], "format": "date-time",
                    "description": "When it happened, by the sender's clock."
                },
                "datacontenttype": {"type": ["string", "null"], "pattern": JSON_TYPE},
                "dataschema": {"type": ["string", "null"], "format": "uri"},
                "data": schema(self.data),
                "data_base64": {"type": "null", "description": "Not accepted: the payload is JSON."}
            }
        })
    }

    /// The headers of a CloudEvent in binary mode.
    fn attributes(&self) -> Vec<Value> {
        let ce = |name: &str, description: &str, schema: Value| json!({"in": "header", "name": format!("ce-{name}"), "description": description, "schema": schema});
        vec![
            ce(
                "specversion",
                "Selects the binary mode of CloudEvents: the body is the payload alone, and `ce-type`, `ce-source`, \
                 `ce-id` and `ce-subject` are required too. Values are percent-encoded. Extension headers are not \
                 checked.",
                json!({"const": "1.0"}),
            ),
            ce("type", "Binary mode: the event's type.", json!({"enum": self.types})),
            ce(
                "source",
                "Binary mode: required; not stored.",
                json!({"type": "string", "format": "uri-reference", "minLength": 1}),
            ),
            ce("id", "Binary mode: the event's id.", schema("EventId")),
            ce("subject", "Binary mode: what the event is about.", self.subject_in_header.clone()),
            ce("time", "Binary mode: when the event happened.", json!({"type": "string", "format": "date-time"})),
        ]
    }
}

/// An object with the members of both.
fn merged(mut object: Value, more: &Value) -> Value {
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    object
}

/// The preference for a batch whose events have different results.
fn prefer() -> Value {
    json!({
        "in": "header", "name": "prefer",
        "description":
            "`handling=lenient` (RFC 7240): 202 instead of 207 or 4xx if each event was accepted or can never be; if one \
             may be accepted later, the answer is its 429 or 503, or a 429 `retry_later` if it is refused for a while with \
             another 4xx, and the whole batch should be sent again. \
             `handling=strict`: no event is sent if one is refused.",
        "schema": {"type": "string"}, "examples": {"lenient": {"value": "handling=lenient"}}
    })
}

fn preference_applied() -> (&'static str, Value) {
    let description = "With `Prefer`: the preference that was applied (RFC 7240).";
    let schema = json!({"enum": ["handling=lenient", "handling=strict"]});
    ("preference-applied", json!({"description": description, "schema": schema}))
}

/// An example of a batch with different results.
fn partial() -> Value {
    json!({
        "request_id": REQUEST_ID,
        "status": "partial",
        "accepted": 1,
        "items": [
            {"index": 0, "status": 202, "event_id": "reading-0003"},
            {
                "index": 1,
                "status": 422,
                "code": "invalid_event",
                "errors": [{"pointer": "/1", "detail": "must be a JSON object"}]
            }
        ]
    })
}
