//! What the body of a submission is, by its content type.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde_json::value::RawValue;
use shared::devices::submission::{self, Submission};
use shared::runtime::json::{BodyError, json};

use crate::named;
use crate::problem::{About, Code, Problem};

/// What tells a CloudEvent in binary mode from an event of our own.
const CE_SPECVERSION: &str = "ce-specversion";
/// What its attributes' headers begin with.
const CE_PREFIX: &str = "ce-";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the README has it.
    Plain,
    /// A CloudEvent, whole in the body.
    Structured,
    /// A CloudEvent, its attributes in headers.
    Binary,
}

impl Format {
    /// The format of `POST /events`. The content type decides first, as the HTTP binding of
    /// CloudEvents says.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = essence(headers);
        if essence.eq_ignore_ascii_case("application/json") {
            Ok(if headers.contains_key(CE_SPECVERSION) { Self::Binary } else { Self::Plain })
        } else if essence.eq_ignore_ascii_case("application/cloudevents+json") {
            Ok(Self::Structured)
        } else {
            Err(unsupported("the content type must be application/json or application/cloudevents+json"))
        }
    }

    pub(crate) fn parse(self, headers: &HeaderMap, bytes: &Bytes) -> Result<Submission, BodyError> {
        match self {
            Self::Plain => submission::parse(bytes),
            Self::Structured => submission::structured(bytes, json(bytes)?),
            Self::Binary => {
                let attributes = headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.as_str().strip_prefix(CE_PREFIX)?, value.as_bytes())));
                submission::binary(attributes, bytes)
            }
        }
    }
}

impl Format {
    /// The ids that a refused body in this format names, as far as they can be read.
    pub(crate) fn named(self, headers: &HeaderMap, bytes: &Bytes) -> About {
        match self {
            Self::Plain | Self::Structured => named::in_json(bytes),
            Self::Binary => named::in_headers(headers),
        }
    }
}

#[derive(Debug)]
pub(crate) enum BatchFormat {
    /// An array of what [`parse`] takes.
    Array(Parse),
    Lines,
}

/// Parses one item, which is a part of the body.
pub(crate) type Parse = fn(&Bytes, &RawValue) -> Result<Submission, BodyError>;

impl BatchFormat {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let essence = essence(headers).to_ascii_lowercase();
        let format = match essence.as_str() {
            "application/json" => Self::Array(submission::parse_value),
            "application/cloudevents-batch+json" => return Ok(Self::Array(submission::structured)),
            "application/x-ndjson" | "application/jsonl" => Self::Lines,
            _ => {
                return Err(unsupported(
                    "the content type must be one of application/json, application/x-ndjson, application/jsonl and \
                     application/cloudevents-batch+json",
                ));
            }
        };
        // Its one event would be taken for something else.
        if headers.contains_key(CE_SPECVERSION) {
            return Err(Problem::new(Code::BadRequest, "the binary mode of CloudEvents has no batches"));
        }
        Ok(format)
    }
}

fn essence(headers: &HeaderMap) -> &str {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    // Of two that differ, whoever looked at it before us may have taken the other one.
    let (Some(only), None) = (all.next(), all.next()) else { return "" };
    let media_type = only.to_str().unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim()
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(Code::UnsupportedMediaType, detail)
}
