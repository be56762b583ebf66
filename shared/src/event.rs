//! What a device says: the event, its identifiers and its payload. No I/O.
//!
//! Everything is parsed once, at the door, into types that cannot hold anything else; nothing
//! behind the door checks again.

pub mod batch;
pub mod body;
pub mod cloud_event;
mod faults;
pub mod payload;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

pub use payload::{MAX_BYTES as MAX_PAYLOAD_BYTES, Payload};

/// One accepted event, as it travels through Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The device that reported it; CloudEvents `subject`, and the record's key.
    pub device_id: DeviceId,
    /// Unique for its device; CloudEvents `id`.
    pub event_id: EventId,
    /// What kind of event it is; CloudEvents `type`.
    pub event_type: EventType,
    /// What was reported; CloudEvents `data`.
    pub payload: Payload,
    /// When it happened, by the device's clock; CloudEvents `time`.
    pub occurred_at: OffsetDateTime,
    /// When the API accepted it.
    pub accepted_at: OffsetDateTime,
    /// The HTTP request that brought it.
    pub request_id: Option<String>,
    /// The token's subject.
    pub user_id: Option<String>,
    /// W3C Trace Context of the request.
    pub traceparent: Option<String>,
}

/// The kind of an event: the worker chooses by it what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A device reported its state.
    DeviceReported,
}

impl EventType {
    /// The CloudEvents `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceReported => "io.edge.device.reported.v1",
        }
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::DeviceReported.as_str() {
            Ok(Self::DeviceReported)
        } else {
            Err(format!("unknown event type {:?}", shown(text)))
        }
    }
}

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than the limit that is given.
    #[error("must be 1 to {0} characters long")]
    Length(usize),
    /// A character outside the allowed set.
    #[error("may contain only A-Z a-z 0-9 . _ : -")]
    Character,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX: usize = $max;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.is_empty() || text.len() > Self::MAX {
                    return Err(IdError::Length(Self::MAX));
                }
                if !text.bytes().all(is_id_byte) {
                    return Err(IdError::Character);
                }
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A device, and the resource that is its latest state: 1 to 128 of `A-Z a-z 0-9 . _ : -`.
    DeviceId,
    128
);
id!(
    /// An event, unique for its device: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
    EventId,
    64
);

impl DeviceId {
    /// One that no text is: a probe's, which reports nothing.
    pub(crate) fn of_nobody(unique: &EventId) -> Self {
        Self(format!("?{unique}").into())
    }
}

impl EventId {
    /// A new UUIDv7 (RFC 9562), for an event that came without an id.
    pub fn generate() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        Self((&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer)).into())
    }
}

/// A date and time of RFC 3339 that can be told in UTC, as PostgreSQL keeps it, in the years 1 to
/// 9999: `9999-12-31T23:59:59-01:00` cannot, and `time` panics where somebody tries.
pub(crate) fn instant(text: &str) -> Option<OffsetDateTime> {
    let given = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let utc = given.checked_to_offset(UtcOffset::UTC)?;
    (1..=9999).contains(&utc.year()).then_some(given)
}

const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// The start of a text from outside, short enough to be put into a message.
fn shown(text: &str) -> String {
    let as_written = |written: &mut usize, c: char| {
        *written += c.escape_debug().count();
        (*written <= 64).then_some(c)
    };
    text.chars().scan(0, as_written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_its_own_text_or_refused(text in ".{0,140}") {
            let good = (1..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
            match text.parse::<DeviceId>() {
                Ok(id) => { prop_assert!(good); prop_assert_eq!(id.as_str(), text); }
                Err(_) => prop_assert!(!good),
            }
        }

        #[test]
        fn well_formed_ids_are_taken(text in "[A-Za-z0-9._:-]{1,64}") {
            prop_assert!(text.parse::<DeviceId>().is_ok());
            prop_assert!(text.parse::<EventId>().is_ok());
        }
    }

    #[test]
    fn times_that_everybody_can_tell() {
        for good in ["2026-01-02T03:04:05.678+01:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"] {
            assert!(instant(good).is_some(), "{good}");
        }
        for bad in
            ["", "now", "2026-01-02", "0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"]
        {
            assert!(instant(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!("".parse::<EventId>(), Err(IdError::Length(64)));
        assert!("a".repeat(64).parse::<EventId>().is_ok());
        assert_eq!("a".repeat(65).parse::<EventId>(), Err(IdError::Length(64)));
        assert!("a".repeat(128).parse::<DeviceId>().is_ok());
        assert_eq!("a".repeat(129).parse::<DeviceId>(), Err(IdError::Length(128)));
    }

    #[test]
    fn a_generated_id_is_a_uuid_v7() {
        let id = EventId::generate();
        assert_eq!(uuid::Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7);
        assert!(id.as_str().parse::<EventId>().is_ok());
    }
}
