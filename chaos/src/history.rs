//! What clients observed during the run, and the final contents of the log and the stores: the only input of
//! the checker. [`file`] saves and loads it.
//!
//! Times are durations since the start of the run.

pub mod ads;
pub mod file;
mod fingerprint;
mod micros;
pub mod placements;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::ads::{Ads, AdsEnd};
pub use self::fingerprint::{fingerprint, sha256};
use self::placements::{Placements, PlacementsEnd};

/// The prefix of the devices whose events another producer writes in transactions.
pub const TRANSACTIONS_DEVICE: &str = "transactions-";

/// The longest text that is kept unchanged, in bytes.
const BRIEF: usize = 100;

/// A payload for storage and comparison: a long text is replaced by its length and hash.
pub fn brief(mut payload: Value) -> Value {
    if let Value::Object(fields) = &mut payload {
        for field in fields.values_mut() {
            if let Value::String(text) = field
                && text.len() > BRIEF
            {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                *text = format!("{} bytes, {:016x}", text.len(), hasher.finish());
            }
        }
    }
    payload
}

/// Where a copy of an event was sent. A device numbers its posts in sending order, each sent after the answer to
/// the previous one or its timeout. The index is the event's position in the post. So places compare in
/// sending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub post: usize,
    pub index: usize,
    /// When it was sent; for an acknowledgement, when it was answered.
    #[serde(with = "micros")]
    pub at: Duration,
}

/// One event that a device sent, perhaps more than once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    pub id: String,
    /// Its payload, [in brief](brief).
    pub payload: Value,
    pub first: Place,
    /// The first copy that was answered 202; without one the event may or may not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Place>,
    pub times: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    pub device: String,
    /// When the request was sent.
    #[serde(with = "micros")]
    pub from: Duration,
    /// When the response had arrived.
    #[serde(with = "micros")]
    pub to: Duration,
    /// The version; 0 for a resource that does not exist.
    pub version: i64,
    /// The event that the state came from; empty for a resource that does not exist.
    pub event: String,
    /// The state, [in brief](brief).
    pub payload: Value,
    /// Whether the API reported that Redis did not answer. The state then came from PostgreSQL: it may be
    /// ahead of the fence, and is never older.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bypass: bool,
}

/// The group's committed offsets at a moment: every earlier event has had its effect, and its fence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// When the answer to the query arrived.
    #[serde(with = "micros")]
    pub at: Duration,
    pub offsets: BTreeMap<i32, i64>,
}

/// What clients observed, and what was done to the system.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// By device, in the order of first sending.
    pub sent: BTreeMap<String, Vec<Sent>>,
    pub reads: Vec<Read>,
    pub commits: Vec<Commit>,
    /// Values of records that are not events, written to the topic past the API.
    pub poison: BTreeSet<String>,
    /// Raw records, written to the topic past any client library; the key is the mark in one of their headers.
    pub wire: BTreeMap<String, Written>,
    /// When the dead-letter topic refused letters for their size: large ones may have been truncated.
    pub letters_refused: Vec<Span>,
    /// Devices whose events PostgreSQL refused for a while: they may have dead letters with that error.
    pub refused: BTreeSet<String>,
    /// By device, events of aborted transactions: none of them may have an effect.
    pub aborted: BTreeMap<String, BTreeSet<String>>,
    /// When a worker could not reach Redis and deferred its fences.
    pub redis_away: Vec<Span>,
    /// When a service could not reach PostgreSQL: a deferred fence waits for PostgreSQL, too.
    pub postgres_away: Vec<Span>,
    /// When a worker ended or was frozen: its deferred fences are lost or late.
    pub workers_away: Vec<WorkerAway>,
    pub bounds: Bounds,
    pub ads: Ads,
    pub placements: Placements,
}

/// A raw record, which no client library writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Whether Kafka acknowledged it: then it must be a dead letter.
    pub acknowledged: bool,
    /// The [fingerprint] of its key, value and headers.
    pub print: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    #[serde(with = "micros")]
    pub from: Duration,
    #[serde(with = "micros")]
    pub to: Duration,
}

impl Span {
    /// Whether the two overlap or touch.
    pub fn meets(&self, other: &Self) -> bool {
        self.from <= other.to && self.to >= other.from
    }
}

/// A worker that ended, or was frozen for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAway {
    /// Its process id.
    pub worker: u32,
    /// Whether it ended; otherwise it was frozen.
    pub ended: bool,
    /// The period; for an ended worker, until its process was gone.
    #[serde(flatten)]
    pub span: Span,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The longest life of a body in the cache.
    #[serde(with = "micros")]
    pub ttl: Duration,
    /// The longest time between reading a body from PostgreSQL and storing it in the cache.
    #[serde(with = "micros")]
    pub fill_delay: Duration,
    /// The longest time from Redis's return until deferred fences are sent.
    #[serde(with = "micros")]
    pub fences_sent: Duration,
    /// The time to add to that if PostgreSQL was away meanwhile.
    #[serde(with = "micros")]
    pub store_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub device: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its value, if it is not an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The mark, if it is a raw record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
    pub partition: i32,
    pub offset: i64,
    /// When the broker appended it, in milliseconds.
    pub appended: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub device: String,
    pub id: String,
    /// The transaction that wrote it; later transactions have greater numbers.
    pub transaction: i64,
    /// Whether it changed its resource.
    pub applied: bool,
    pub partition: i32,
    pub offset: i64,
    /// When the broker appended it, in milliseconds.
    pub appended: i64,
    /// Its payload, [in brief](brief).
    pub payload: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub version: i64,
    pub event: String,
    pub body: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    pub key: String,
    /// Its value; [in brief](brief) if it is an event.
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub reason: String,
    pub error: String,
    pub attempts: u32,
    /// The mark of the record, if that is a raw one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
    /// The [fingerprint] of that record's key, value and own headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<String>,
    /// Whether it was truncated because it was too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The record's partition, its `dlq.partition`.
    pub partition: i32,
    /// The record's offset there, its `dlq.offset`.
    pub offset: i64,
    /// When the broker appended the record, its `dlq.timestamp`, in milliseconds.
    pub appended: i64,
    /// When the broker appended the letter, in milliseconds.
    pub died: i64,
}

/// The contents of the log, the stores and the dead-letter topic once the workers are idle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct End {
    pub log: Vec<Record>,
    pub rows: Vec<Row>,
    pub resources: BTreeMap<String, Resource>,
    pub letters: Vec<Letter>,
    pub cached: BTreeMap<String, String>,
    /// Partitions that the group did not finish in time: the committed offset and the end offset.
    pub left: BTreeMap<i32, (i64, i64)>,
    pub ads: AdsEnd,
    pub placements: PlacementsEnd,
}
