//! Identifiers that every domain has: a record's key, an event's id. No I/O.
//!
//! They are parsed once, at input, into types that cannot hold invalid values; later code does not check again.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

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
    /// A character outside the set of tokens.
    #[error("may contain only A-Z a-z 0-9 . _ : -")]
    Character,
    /// A character that is not printable ASCII.
    #[error("may contain only printable ASCII characters: beyond ASCII, one name can be encoded in several ways")]
    NotAscii,
    /// A blank at the beginning or the end.
    #[error("must not begin or end with a blank")]
    Blank,
    /// A segment `.` or `..`.
    #[error("must not have a segment . or .. between slashes: HTTP clients remove it from a path")]
    DotSegment,
}

/// A newtype of a text of 1 to `$max` characters that follows a rule: [`token`] or [`subject`].
macro_rules! id {
    ($(#[$doc:meta])* $vis:vis $name:ident, $max:literal, $rule:path) => {
        $crate::kafka::ids::text!($(#[$doc])* $vis $name);

        impl $name {
            /// The greatest length, in bytes.
            $vis const MAX: usize = $max;
        }

        impl std::str::FromStr for $name {
            type Err = $crate::kafka::ids::IdError;

            fn from_str(text: &str) -> Result<Self, $crate::kafka::ids::IdError> {
                $rule(text, Self::MAX)?;
                Ok(Self(text.into()))
            }
        }
    };
}

pub(crate) use id;

id!(
    /// An event's id, unique among the events of its subject: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
    pub EventId,
    64,
    token
);

impl EventId {
    /// A new UUIDv7 (RFC 9562), for an event that came without an id.
    pub fn generate() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        Self((&*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer)).into())
    }
}

/// The rule for tokens: 1 to `max` of `A-Z a-z 0-9 . _ : -`, which mean the same wherever they are written.
pub(crate) fn token(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        Err(IdError::Length(max))
    } else if !text.bytes().all(is_id_byte) {
        Err(IdError::Character)
    } else {
        Ok(())
    }
}

/// The rule for subjects: 1 to `max` printable ASCII characters, no blank at either end, and no segment `.` or `..`
/// between slashes. A client would remove such a segment from a path, so that nobody could read the resource.
pub(crate) fn subject(text: &str, max: usize) -> Result<(), IdError> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Err(IdError::NotAscii)
    } else if text.is_empty() || text.len() > max {
        Err(IdError::Length(max))
    } else if text.starts_with(' ') || text.ends_with(' ') {
        Err(IdError::Blank)
    } else if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        Err(IdError::DotSegment)
    } else {
        Ok(())
    }
}

/// Whether a text could be a subject: a log line may show it.
pub fn is_subject(text: &str) -> bool {
    subject(text, 128).is_ok()
}

/// Whether a text has only characters of tokens.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(is_id_byte)
}

/// The bytes that [`percent_encoded`] encodes: all but those of tokens.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b':').remove(b'-');

/// An identifier as a segment of a path, of a URI reference or of a key in Redis. A token stays as it is.
pub fn percent_encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
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
        128,
        token
    );

    id!(
        /// A subject.
        SubjectId,
        128,
        subject
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

        #[test]
        fn a_subject_is_its_own_text_or_refused(text in prop_oneof!["[./a -]{0,6}", "[ -~]{0,130}", ".{0,8}"]) {
            let good = (1..=128).contains(&text.len())
                && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
                && text.trim() == text
                && !format!("/{text}/").contains("/./")
                && !format!("/{text}/").contains("/../");
            match text.parse::<SubjectId>() {
                Ok(id) => { prop_assert!(good, "{}", text); prop_assert_eq!(id.as_str(), text); }
                Err(error) => prop_assert!(!good, "{}: {}", text, error),
            }
        }

        #[test]
        fn what_is_encoded_is_a_token_with_percent_signs_and_comes_back(text in "[ -~]{0,128}") {
            let encoded = percent_encoded(&text).to_string();
            prop_assert!(encoded.bytes().all(|byte| is_id_byte(byte) || byte == b'%'), "{}", encoded);
            prop_assert_eq!(percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap(), text.as_str());
            prop_assert_eq!(encoded == text, is_plain(&text), "what was a key before stays that key");
        }
    }

    #[test]
    fn a_subject_that_is_refused_says_why() {
        for good in ["a/b", "line 1/sensor@2+#3[4]{5}", "~", "...", "a/...", ".a/..b", "/", "//", "a/", "%2e"] {
            assert_eq!(good.parse::<SubjectId>().err(), None, "{good}");
        }
        let ascii =
            "may contain only printable ASCII characters: beyond ASCII, one name can be encoded in several ways";
        let blank = "must not begin or end with a blank";
        let dots = "must not have a segment . or .. between slashes: HTTP clients remove it from a path";
        let length = "must be 1 to 128 characters long";
        for (bad, why) in [
            ("", length),
            (&*"a".repeat(129), length),
            ("K\u{fc}hlraum", ascii),
            ("Ku\u{308}hlraum", ascii),
            (&*"\u{fc}".repeat(200), ascii),
            ("a\tb", ascii),
            ("a\u{7f}", ascii),
            ("\u{a0}a", ascii),
            (" ", blank),
            (" a", blank),
            ("a ", blank),
            (".", dots),
            ("..", dots),
            ("a/../b", dots),
            ("./a", dots),
            ("a/.", dots),
            ("a/..", dots),
        ] {
            assert_eq!(bad.parse::<SubjectId>().unwrap_err().to_string(), why, "{bad:?}");
        }
    }

    #[test]
    fn an_identifier_is_encoded_byte_by_byte() {
        assert_eq!(percent_encoded("device-123").to_string(), "device-123");
        assert_eq!(percent_encoded("a/b@c+#[1]{x} %").to_string(), "a%2Fb%40c%2B%23%5B1%5D%7Bx%7D%20%25");
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
