//! What the clients of placements observed.

mod end;
mod facts;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::end::{
    DomainLetter, DomainRecord, FileRow, InboxRow, KnownCampaign, LeftBehind, Number, Object, OutboxRow, PlacementRow,
    PlacementsEnd, ProductRow, ValidationRow, VideoRow,
};
pub(super) use self::facts::PlacementFact;
use super::{Span, micros};

/// What an editor asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    CreateVideo {
        body: Value,
    },
    ChangeVideo {
        video: String,
        /// The version that `If-Match` names.
        version: i64,
        body: Value,
    },
    Place {
        video: String,
        body: Value,
    },
    PlaceMany {
        video: String,
        bodies: Vec<Value>,
    },
    ChangePlacement {
        placement: String,
        version: i64,
        body: Value,
    },
    DeletePlacement {
        placement: String,
        version: i64,
    },
    Validate {
        video: String,
    },
}

/// One try of a command, and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The Idempotency-Key, which the events have as their correlation id.
    pub key: String,
    pub ask: Ask,
    /// Whether another command has used this key before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuses: bool,
    #[serde(with = "micros")]
    pub from: Duration,
    /// When it was answered, or given up.
    #[serde(with = "micros")]
    pub to: Duration,
    /// The API that it was sent to.
    pub api: usize,
    /// 0 without an answer.
    pub status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether the answer says that it is the one of an earlier try.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Of a certain answer, to the byte.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

/// The codes of refusals that are decided in the command's transaction, and kept with its key.
const KEPT: [&str; 4] = ["video_not_found", "placement_not_found", "too_many_placements", "precondition_failed"];

impl Tried {
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the answer says for certain that this key does nothing.
    pub fn is_refused(&self) -> bool {
        let waits = self.status == 429 || self.code.as_deref() == Some("key_in_progress");
        (400..500).contains(&self.status) && !waits
    }

    pub fn is_certain(&self) -> bool {
        self.is_done() || self.is_refused()
    }

    /// Whether its answer is kept with the key: then the key has no other one.
    pub fn is_kept(&self) -> bool {
        self.is_done() || self.is_refused() && self.code.as_deref().is_some_and(|code| KEPT.contains(&code))
    }

    pub fn span(&self) -> Span {
        Span { from: self.from, to: self.to }
    }

    /// A member of its answer.
    pub fn answered(&self, name: &str) -> Option<Value> {
        serde_json::from_str::<Value>(&self.body).ok()?.get(name).cloned()
    }
}

/// A file of a video, as a reader got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRead {
    pub video: String,
    /// `json` or `vtt`.
    pub kind: String,
    #[serde(with = "micros")]
    pub from: Duration,
    #[serde(with = "micros")]
    pub to: Duration,
    /// `X-Revision`.
    pub revision: i64,
    /// The ETag, without its quotes.
    pub etag: String,
    /// The SHA-256 of the bytes; none of a 304.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A video, as a reader got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoRead {
    pub video: String,
    #[serde(with = "micros")]
    pub from: Duration,
    #[serde(with = "micros")]
    pub to: Duration,
    pub revision: i64,
    pub ready_revision: i64,
    pub title: String,
    pub duration_ms: i64,
    pub placements: usize,
}

/// A validation, as an editor got it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationRead {
    pub validation: String,
    #[serde(with = "micros")]
    pub from: Duration,
    #[serde(with = "micros")]
    pub to: Duration,
    pub status: String,
    pub revision: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Value>,
}

/// PostgreSQL's tables of placements and of the outbox came back as they were some time before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// From when they were saved until they were restored, and compared with the topic.
    #[serde(flatten)]
    pub span: Span,
    /// The videos that came back.
    pub videos: Vec<SavedVideo>,
    /// The last number of each aggregate after that.
    pub numbers: Vec<Number>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVideo {
    pub id: String,
    pub revision: i64,
    pub ready_revision: i64,
    pub version: i64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placements {
    /// In the order in which they were answered.
    pub tries: Vec<Tried>,
    pub files: Vec<FileRead>,
    pub videos: Vec<VideoRead>,
    pub validations: Vec<ValidationRead>,
    /// In their order.
    pub restored: Vec<Restored>,
}
