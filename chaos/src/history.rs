//! What clients saw while it ran, and what the log and the stores hold at the end: all that the
//! checker knows. [`file`] writes it down and reads it again.
//!
//! Times are spans since the beginning of the run.

pub mod file;
mod fingerprint;
mod micros;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::fingerprint::fingerprint;

/// What the names of devices begin with whose events come in transactions, beside the API.
pub const TRANSACTIONS_DEVICE: &str = "transactions-";

/// The longest text that is kept as it is.
const BRIEF: usize = 100;

/// A payload to keep and to compare: of a long text its length and a hash of it.
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

/// Where a copy of an event was sent. A device's posts are numbered in the order in which it sent
/// them, each after the answer to the last or after waiting for it in vain, and an event has its
/// place in a post: so these compare as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub post: usize,
    pub index: usize,
    /// When it was sent, or, of an acknowledged one, answered.
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
    /// The first copy that was answered 202; an event without one may be there or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Place>,
    pub times: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    pub device: String,
    /// When it was asked for.
    #[serde(with = "micros")]
    pub from: Duration,
    /// When the answer was there.
    #[serde(with = "micros")]
    pub to: Duration,
    /// The version; 0 for a resource that does not exist.
    pub version: i64,
    /// The event that the state came from; empty for a resource that does not exist.
    pub event: String,
    /// The state, [in brief](brief).
    pub payload: Value,
    /// Whether the API said that Redis gave it no answer: it may have been ahead of the fence then.
    /// It came from PostgreSQL, and is never older than the fence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bypass: bool,
}

/// How far the group had committed at a moment: everything before has had its effect, fence
/// included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// When it was known.
    #[serde(with = "micros")]
    pub at: Duration,
    pub offsets: BTreeMap<i32, i64>,
}

/// What clients saw, and what was done to the system.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// By device, in the order in which they were first sent.
    pub sent: BTreeMap<String, Vec<Sent>>,
    pub reads: Vec<Read>,
    pub commits: Vec<Commit>,
    /// Values of records that are no events, put on the topic beside the API.
    pub poison: BTreeSet<String>,
    /// Records that no client library writes, put on the topic byte by byte, by the mark in a header of theirs.
    pub wire: BTreeMap<String, Written>,
    /// When the dead-letter topic took no letter, because of its size: a large one may have been cut.
    pub letters_refused: Vec<Span>,
    /// Devices whose events PostgreSQL refused for a while: these may have dead letters, which say so.
    pub refused: BTreeSet<String>,
    /// By device, events of transactions that were aborted: none of them ever was.
    pub aborted: BTreeMap<String, BTreeSet<String>>,
    /// When Redis was away from a worker: fences were put off.
    pub redis_away: Vec<Span>,
    /// When PostgreSQL was away from somebody: a fence that is put off waits for it, too.
    pub postgres_away: Vec<Span>,
    /// When a worker ended, or stood still: the fences that it had put off are lost, or come late.
    pub workers_away: Vec<WorkerAway>,
    pub bounds: Bounds,
}

/// A record that no client library writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Whether Kafka acknowledged it: it is a dead letter then.
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
    /// Whether the two share a moment. Those that abut do.
    pub fn meets(&self, other: &Self) -> bool {
        self.from <= other.to && self.to >= other.from
    }
}

/// A worker that was ended, or did not run for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAway {
    /// Its process.
    pub worker: u32,
    /// Whether it ended, and did not just stand still.
    pub ended: bool,
    /// When; of one that ended, until it was gone.
    #[serde(flatten)]
    pub span: Span,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How long a body stays in the cache at most.
    #[serde(with = "micros")]
    pub ttl: Duration,
    /// How much earlier than it was put there a body can have been read from PostgreSQL.
    #[serde(with = "micros")]
    pub fill_delay: Duration,
    /// Fences that were put off are sent within this after Redis is back.
    #[serde(with = "micros")]
    pub fences_sent: Duration,
    /// And within this more, where PostgreSQL was away meanwhile.
    #[serde(with = "micros")]
    pub store_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub device: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its value, where it is no event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The mark of one that no client library writes.
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
    /// The transaction that wrote it: those that follow each other have growing numbers.
    pub transaction: i64,
    /// Whether it changed its resource.
    pub applied: bool,
    pub partition: i32,
    pub offset: i64,
    /// When the broker appended it, in milliseconds.
    pub appended: i64,
    /// What it reported, [in brief](brief).
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
    /// Its value; that of an event [in brief](brief).
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub reason: String,
    pub error: String,
    pub attempts: u32,
    /// The mark of a record that no client library writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
    /// The [fingerprint] of that record's key, value and own headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<String>,
    /// Whether it was cut, because it was too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The record's partition, its `dlq.partition`.
    pub partition: i32,
    /// Where the record stands there, its `dlq.offset`.
    pub offset: i64,
    /// When the broker appended the record, its `dlq.timestamp`, in milliseconds.
    pub appended: i64,
    /// When the broker appended the letter, in milliseconds.
    pub died: i64,
}

/// What the log, the stores and the dead-letter topic hold when all is quiet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct End {
    pub log: Vec<Record>,
    pub rows: Vec<Row>,
    pub resources: BTreeMap<String, Resource>,
    pub letters: Vec<Letter>,
    pub cached: BTreeMap<String, String>,
    /// Partitions that the group did not come to the end of, though it was given the time: how far it
    /// had committed, and where they end.
    pub left: BTreeMap<i32, (i64, i64)>,
}
