//! Kafka: the client, the topics, and how a record encodes an event (the Kafka protocol binding of CloudEvents 1.0).
//!
//! The API writes the **binary** content mode: the value is the payload, byte for byte, and the attributes are headers.
//! The worker also reads **structured** records of other producers.

mod cause;
mod client;
mod client_errors;
mod client_headers;
mod client_log;
mod client_properties;
mod client_security;
pub mod cloud_events;
mod config;
mod dead_letter;
mod detached;
mod encoded_headers;
mod envelope;
mod event_types;
mod headers;
pub mod ids;
mod outgoing;
pub mod position;
mod probe_event;
mod record;
pub mod schemas;
mod stream;
pub mod topics;
pub mod unreadable;

pub use self::cause::Cause;
pub use self::client::*;
pub use self::client_errors::{Fetched, next_fetched};
pub use self::client_headers::Header;
pub use self::client_log::{LogContext, log, log_error};
pub use self::config::KafkaConfig;
pub(crate) use self::config::topic_name;
pub use self::dead_letter::{DeadLetter, LetterHeaders, Reason, Refusal, as_text};
pub use self::detached::{Detached, detach};
pub use self::envelope::{Delivery, Envelope, decode};
pub(crate) use self::event_types::{event_types, unknown_type};
pub use self::headers::header;
pub use self::outgoing::{Outgoing, each_header, headers, max_headers};
pub use self::record::Record;
pub use self::stream::{Setting, Stream, StreamSpec, TopicConfig, TopicsOf};
