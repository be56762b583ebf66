//! The correlation id of a request, and what its commands and events name as their cause.

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use shared::kafka::Cause;

use super::request_id;
use super::trace::Passed;

pub const HEADER: HeaderName = HeaderName::from_static("x-correlation-id");

/// The caller's id for what belongs together, if there is exactly one and it could be a request's id; else the
/// request's.
pub fn of(parts: &Parts) -> String {
    let mut all = parts.headers.get_all(HEADER).iter();
    let only = all.next().filter(|_| all.next().is_none());
    let sane = only.filter(|given| request_id::is_sane(given.as_bytes())).map(HeaderValue::to_str);
    match sane {
        Some(Ok(given)) => given.to_owned(),
        _ => request_id::text(parts.extensions.get()).to_owned(),
    }
}

/// The cause of the events of a request's command. `user` is the subject of its token, if it has one.
pub fn cause(parts: &Parts, user: Option<&str>) -> Cause {
    Cause {
        correlation_id: Some(of(parts)),
        causation_id: None,
        request_id: Some(request_id::text(parts.extensions.get()).to_owned()),
        user_id: user.map(str::to_owned),
        traceparent: parts.extensions.get::<Passed>().and_then(|passed| passed.header.clone()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower_http::request_id::RequestId;

    use super::*;

    fn parts(given: &[&str]) -> Parts {
        let request = given.iter().fold(Request::builder(), |request, given| request.header(HEADER, *given));
        let mut parts = request.body(()).unwrap().into_parts().0;
        parts.extensions.insert(RequestId::new(HeaderValue::from_static("r-1")));
        parts
    }

    #[test]
    fn it_is_the_callers_if_that_is_sane_and_else_the_requests() {
        for given in ["c", "order:1.2_3-4", &"x".repeat(128)] {
            assert_eq!(of(&parts(&[given])), given);
        }
        for strange in [&[][..], &[""], &["a b"], &["a/b"], &[&*"x".repeat(129)], &["c", "d"], &["c", "c"]] {
            assert_eq!(of(&parts(strange)), "r-1", "{strange:?}");
        }
    }

    #[test]
    fn a_command_is_caused_by_its_request() {
        let mut parts = parts(&["c-1"]);
        parts.extensions.insert(Passed { header: Some("00-1-2-01".to_owned()), recorded: None });
        let expected =
            [("correlationid", "c-1"), ("requestid", "r-1"), ("userid", "alice"), ("traceparent", "00-1-2-01")];
        assert_eq!(cause(&parts, Some("alice")).attributes().collect::<Vec<_>>(), expected);
        assert_eq!(cause(&parts, None).user_id, None);
    }
}
