//! The format of a submission, by its content type.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use shared::kafka::cloud_events::{essence, is_json};
use shared::runtime::json::{BodyError, json};

use super::Item;
use crate::http::content_type;
use crate::http::problem::{Code, Problem};

/// The header that distinguishes a CloudEvent in binary mode from an event in the domain's own form.
const CE_SPECVERSION: &str = "ce-specversion";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The domain's own form.
    Plain,
    /// A CloudEvent, entirely in the body.
    Structured,
    /// A CloudEvent with its attributes in headers.
    Binary,
}

impl Format {
    /// The format of `POST /events`. The content type decides first, as the HTTP binding of CloudEvents requires: a
    /// type that begins with `application/cloudevents` is never the binary mode. In binary mode there may be none: SDKs
    /// for Python and Go send none for an event without `datacontenttype`.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = essence(content_type(headers));
        let is_binary = || headers.contains_key(CE_SPECVERSION);
        if essence.eq_ignore_ascii_case("application/json") {
            Ok(if is_binary() { Self::Binary } else { Self::Plain })
        } else if essence.eq_ignore_ascii_case("application/cloudevents+json") {
            Ok(Self::Structured)
        } else if is_json(data_type(headers)) && !is_cloud_events(essence) && is_binary() {
            Ok(Self::Binary)
        } else {
            Err(unsupported(
                "the content type must be application/json or application/cloudevents+json; with the header \
                 ce-specversion it may be any type of JSON, such as application/geo+json, or missing; the data is a \
                 JSON object whatever the type",
            ))
        }
    }

    /// The event in a body of this format.
    pub(crate) fn item<'a>(self, headers: &'a HeaderMap, bytes: &'a Bytes) -> Result<Item<'a>, BodyError> {
        Ok(match self {
            Self::Plain => Item::Plain(bytes, json(bytes)?),
            Self::Structured => Item::Structured(bytes, json(bytes)?),
            Self::Binary => Item::Binary(headers, bytes),
        })
    }
}

/// The format of a batch, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchFormat {
    /// An array of events in the domain's own form.
    Array,
    /// An array of CloudEvents.
    CloudEvents,
    /// An event in the domain's own form on each line.
    Lines,
}

impl BatchFormat {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = essence(content_type(headers)).to_ascii_lowercase();
        let format = match essence.as_str() {
            "application/json" => Self::Array,
            "application/cloudevents-batch+json" => return Ok(Self::CloudEvents),
            "application/x-ndjson" | "application/jsonl" => Self::Lines,
            _ => {
                return Err(unsupported(
                    "the content type must be one of application/json, application/x-ndjson, application/jsonl and \
                     application/cloudevents-batch+json",
                ));
            }
        };
        // Binary mode has one event: reading the body as a batch would misinterpret it.
        if headers.contains_key(CE_SPECVERSION) {
            return Err(Problem::new(Code::BAD_REQUEST, "the binary mode of CloudEvents has no batches"));
        }
        Ok(format)
    }
}

/// The type of the data of a CloudEvent in binary mode: JSON if there is no content type.
pub(super) fn data_type(headers: &HeaderMap) -> &str {
    if headers.contains_key(header::CONTENT_TYPE) { content_type(headers) } else { "application/json" }
}

/// Whether the body is a CloudEvent, or several, in an event format.
fn is_cloud_events(media_type: &str) -> bool {
    const PREFIX: &str = "application/cloudevents";
    media_type.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(Code::UNSUPPORTED_MEDIA_TYPE, detail)
}
