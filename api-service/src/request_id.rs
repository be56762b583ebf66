//! The name of a request: the caller's, if it is a sane one, else a UUIDv7.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const MAX: usize = 128;

/// A request's name: 1 to 128 of `A-Z a-z 0-9 . _ : -`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's, if there is one and it is sane, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(HEADER) {
            Some(given) if is_sane(given.as_bytes()) => Self(given.clone()),
            _ => Self::generate(),
        }
    }

    /// A new one.
    pub fn generate() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        // Hexadecimal digits and hyphens are always a header's value.
        let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(text.as_bytes()));
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Nothing but ASCII gets in.
        self.0.to_str().unwrap_or_default()
    }

    /// The value for an answer's header.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_sane(text: &[u8]) -> bool {
    (1..=MAX).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &str) -> RequestId {
        RequestId::of(&[(HEADER, HeaderValue::from_str(given).unwrap())].into_iter().collect())
    }

    #[test]
    fn a_sane_one_is_kept() {
        for given in ["a", "trace:1.2_3-4", &"x".repeat(128)] {
            assert_eq!(of(given).as_str(), given);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_uuid_v7() {
        for given in ["", "a b", "a\"b", "a/b", &"x".repeat(129)] {
            let id = of(given);
            assert_eq!(Uuid::parse_str(id.as_str()).unwrap().get_version_num(), 7, "{given}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
