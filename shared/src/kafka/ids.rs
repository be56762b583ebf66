//! Identifiers that every domain has: a record's key, an event's id. No I/O.
//!
//! They are parsed once, at input, into types that cannot hold invalid values; later code does not check again.

use std::sync::Arc;

/// A newtype of a text; `Display` and `Debug` show the text.
macro_rules! text {
    ($(#[$doc:meta])* $vis:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text.
            $vis fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use text;

text!(
    /// A record's key: Kafka partitions by it, and events with the same key are applied in the log's order.
    pub Key
);

impl<T: Into<Arc<str>>> From<T> for Key {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than this limit.
    #[error("must be 1 to {0} characters long")]
    Length(usize),
    /// A character outside the allowed set.
    #[error("may contain only A-Z a-z 0-9 . _ : -")]
    Character,
}

/// A newtype of a text of 1 to `$max` characters of `A-Z a-z 0-9 . _ : -`.
macro_rules! id {
    ($(#[$doc:meta])* $vis:vis $name:ident, $max:literal) => {
        $crate::kafka::ids::text!($(#[$doc])* $vis $name);

        impl $name {
            /// The greatest length, in bytes.
            $vis const MAX: usize = $max;
        }

        impl std::str::FromStr for $name {
            type Err = $crate::kafka::ids::IdError;

            fn from_str(text: &str) -> Result<Self, $crate::kafka::ids::IdError> {
                if text.is_empty() || text.len() > Self::MAX {
                    return Err($crate::kafka::ids::IdError::Length(Self::MAX));
                }
                if !text.bytes().all($crate::kafka::ids::is_id_byte) {
                    return Err($crate::kafka::ids::IdError::Character);
                }
                Ok(Self(text.into()))
            }
        }
    };
}

pub(crate) use id;

id!(
    /// An event's id, unique among the events of its subject: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
    pub EventId,
    64
);

impl EventId {
    /// A new UUIDv7 (RFC 9562), for an event that came without an id.
    pub fn generate() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        Self((&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer)).into())
    }
}

/// Whether a text has the form of most identifiers: 1 to 128 of `A-Z a-z 0-9 . _ : -`.
pub fn is_identifier(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(is_id_byte)
}

pub(crate) const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    id!(
        /// A long one.
        LongId,
        128
    );

    proptest! {
        #[test]
        fn an_id_is_its_own_text_or_refused(text in ".{0,140}") {
            let good = (1..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
            match text.parse::<LongId>() {
                Ok(id) => { prop_assert!(good); prop_assert_eq!(id.as_str(), text); }
                Err(_) => prop_assert!(!good),
            }
        }

        #[test]
        fn well_formed_ids_are_taken(text in "[A-Za-z0-9._:-]{1,64}") {
            prop_assert!(text.parse::<LongId>().is_ok());
            prop_assert!(text.parse::<EventId>().is_ok());
        }
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!("".parse::<EventId>(), Err(IdError::Length(64)));
        assert!("a".repeat(64).parse::<EventId>().is_ok());
        assert_eq!("a".repeat(65).parse::<EventId>(), Err(IdError::Length(64)));
        assert!("a".repeat(128).parse::<LongId>().is_ok());
        assert_eq!("a".repeat(129).parse::<LongId>(), Err(IdError::Length(128)));
    }

    #[test]
    fn a_generated_id_is_a_uuid_v7() {
        let id = EventId::generate();
        assert_eq!(uuid::Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7);
        assert!(id.as_str().parse::<EventId>().is_ok());
    }
}
