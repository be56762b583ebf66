//! Answers to what is no HTTP, or has headers beyond all measure.
//!
//! hyper answers these itself, below the router, with a bare 400 or 431. It lets nobody change
//! them, so they are told by what they lack, on their way out: every answer of the router names its
//! request.

use std::fmt::Write as _;

use axum::http::StatusCode;
use bytes::Bytes;

use crate::observe;
use crate::request_id;

/// The problem to be sent instead of these bytes, where they are an answer of hyper's own.
pub(super) fn instead_of(bytes: &[u8]) -> Option<Bytes> {
    if !bytes.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let name = request_id::HEADER;
    if head.lines().any(|line| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name.as_str()))) {
        return None;
    }
    let status = StatusCode::from_bytes(head.get(9..12)?.as_bytes()).ok()?;
    let (id, body) = observe::unread(status);
    let (line, rest) = head.split_once("\r\n")?;
    let mut whole = format!("{line}\r\n");
    for header in rest.lines().filter(|header| !header.starts_with("content-length:")) {
        let _ = write!(whole, "{header}\r\n");
    }
    let _ = write!(
        whole,
        "content-type: application/problem+json\r\ncache-control: no-store\r\n{name}: {}\r\ncontent-length: {}\r\n\r\n",
        id.as_str(),
        body.len()
    );
    Some([whole.as_bytes(), &body].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_answer_becomes_a_problem_and_keeps_its_headers() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let whole = instead_of(bare).unwrap();
        let text = std::str::from_utf8(&whole).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("HTTP/1.1 431 Request Header Fields Too Large"));
        let lines: Vec<_> = lines.collect();
        for expected in ["connection: close", "date: now", "content-type: application/problem+json"] {
            assert!(lines.contains(&expected), "{head}");
        }
        let length = format!("content-length: {}", body.len());
        assert_eq!(lines.iter().filter(|line| line.starts_with("content-length")).collect::<Vec<_>>(), [&length]);
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&431.into(), &"headers_too_large".into()));
        let id = lines.iter().find_map(|line| line.strip_prefix("x-request-id: "));
        assert_eq!(body["request_id"].as_str(), id);
    }

    #[test]
    fn whatever_names_its_request_is_left_alone() {
        for own in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\nX-Request-Id: a\r\n\r\n{",
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 400 Bad",
            "",
        ] {
            assert!(instead_of(own.as_bytes()).is_none(), "{own}");
        }
    }
}
