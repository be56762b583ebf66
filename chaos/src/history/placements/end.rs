//! What the log and the stores hold of placements at the end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoRow {
    pub id: String,
    pub title: String,
    pub duration_ms: i64,
    /// Thousandths of a frame a second.
    pub frame_rate: Option<i64>,
    pub revision: i64,
    pub ready_revision: i64,
    pub version: i64,
    pub placements: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementRow {
    pub id: String,
    pub video: String,
    pub product: String,
    pub campaign: Option<i64>,
    pub start_ms: i64,
    pub end_ms: i64,
    pub layer: i64,
    pub region: Option<Value>,
    pub label: Option<String>,
    pub version: i64,
    pub deleted: bool,
}

/// A product. It does not change during a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRow {
    pub id: String,
    pub active: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationRow {
    pub id: String,
    pub video: String,
    pub status: String,
    pub revision: i64,
    pub version: i64,
    pub findings: Option<Value>,
    /// In microseconds since 1970.
    pub requested: i64,
    pub finished: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    pub video: String,
    pub kind: String,
    pub revision: i64,
    pub sha256: String,
    pub bytes: i64,
}

/// An object in the store of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name.
    pub sha256: String,
    pub content: String,
}

/// What placements know of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCampaign {
    pub campaign: i64,
    pub status: String,
    pub sequence: i64,
}

/// The last number of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    pub aggregate: String,
    pub last: i64,
}

/// An event that was never published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRow {
    pub event: String,
    pub aggregate: String,
    pub sequence: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRow {
    pub subscriber: String,
    pub event: String,
    pub aggregate: String,
    pub sequence: Option<i64>,
    /// When its transaction began, in microseconds since 1970.
    pub taken: i64,
}

/// A record of the topic of what commands publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub id: String,
    /// CloudEvents `type`, without its first part.
    pub kind: String,
    pub sequence: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// Whether it is a dead letter that was written again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redriven: bool,
    pub data: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainLetter {
    pub key: String,
    pub id: String,
    /// The consumer group whose dead letter it is.
    pub group: String,
    pub reason: String,
    pub error: String,
}

/// A partition that a subscriber did not finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    pub subscriber: String,
    pub partition: i32,
    pub committed: i64,
    pub end: i64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlacementsEnd {
    pub videos: Vec<VideoRow>,
    pub placements: Vec<PlacementRow>,
    pub products: Vec<ProductRow>,
    pub validations: Vec<ValidationRow>,
    pub files: Vec<FileRow>,
    /// Those that the rows of files name.
    pub objects: Vec<Object>,
    pub campaigns: Vec<KnownCampaign>,
    pub numbers: Vec<Number>,
    pub outbox: Vec<OutboxRow>,
    pub inbox: Vec<InboxRow>,
    pub records: Vec<DomainRecord>,
    pub letters: Vec<DomainLetter>,
    pub left: Vec<LeftBehind>,
}
