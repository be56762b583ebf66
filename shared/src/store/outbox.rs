//! The outbox: a command writes the events that it publishes in its own transaction, and the relay brings them to
//! Kafka.
//!
//! Events of an aggregate are in order, because a command locks its boundary first: numbers, ids in the outbox and
//! commits of an aggregate rise together. So no reader sees a later event without the ones before it.

mod boundary;
pub mod doorbell;
pub mod relay;
mod write;

use std::sync::Arc;

use time::OffsetDateTime;

pub use self::boundary::Boundary;
pub use self::write::publish;
use crate::kafka::Cause;
use crate::kafka::ids::EventId;
use crate::kafka::schemas::EventSchema;

/// The most bytes of an event's data: a record with it is much smaller than what Kafka takes.
pub const MAX_DATA_BYTES: usize = 64 * 1024;
/// The most bytes of an aggregate's name: an index takes it, and a record with a longer key is not of an outbox.
pub const MAX_AGGREGATE_BYTES: usize = 256;

/// An event to write. Each takes a number of its boundary.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The schema of its type.
    pub schema: &'static EventSchema,
    /// The boundary's aggregate, which is the record's key.
    pub aggregate: Arc<str>,
    /// A number of the boundary, from [`Boundary::next_number`].
    pub sequence: i64,
    /// Its id, from [`EventId::generate`].
    pub id: EventId,
    /// CloudEvents `source`.
    pub source: &'static str,
    /// CloudEvents `subject`: what the event is about.
    pub subject: String,
    /// When it happened.
    pub at: OffsetDateTime,
    /// What caused it.
    pub cause: Cause,
    /// CloudEvents `data`: a JSON object.
    pub data: String,
}
