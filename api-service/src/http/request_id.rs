//! The request id: the caller's if it is valid, otherwise a UUIDv7. Layers of tower-http add it to the request and to
//! its response.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};
use uuid::Uuid;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const MAX: usize = 128;

/// Removes an id that is not 1 to 128 of `A-Z a-z 0-9 . _ : -`: the request gets another.
pub fn sane(mut request: Request) -> Request {
    if request.headers().get(HEADER).is_some_and(|given| !is_sane(given.as_bytes())) {
        request.headers_mut().remove(HEADER);
    }
    request
}

/// Creates ids for requests without one.
#[derive(Debug, Clone, Copy)]
pub struct UuidV7;

impl MakeRequestId for UuidV7 {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        // Hexadecimal digits and hyphens always make a valid header value.
        HeaderValue::try_from(Uuid::now_v7().to_string()).ok().map(RequestId::new)
    }
}

/// The text of a request id from the extensions.
pub fn text(id: Option<&RequestId>) -> &str {
    // `sane` lets only ASCII pass.
    id.and_then(|id| id.header_value().to_str().ok()).unwrap_or_default()
}

pub(crate) fn is_sane(text: &[u8]) -> bool {
    (1..=MAX).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// The id of a request after `sane`.
    fn left(given: &str) -> Option<HeaderValue> {
        let request = Request::builder().header(HEADER, given).body(Body::empty()).unwrap();
        sane(request).headers().get(HEADER).cloned()
    }

    #[test]
    fn a_sane_one_is_kept_and_any_other_taken_away() {
        for given in ["a", "trace:1.2_3-4", &"x".repeat(128)] {
            assert_eq!(left(given).unwrap(), given);
        }
        for given in ["", "a b", "a\"b", "a/b", &"x".repeat(129)] {
            assert_eq!(left(given), None, "{given}");
        }
    }
}
