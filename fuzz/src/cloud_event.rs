//! CloudEvents over HTTP in binary, structured and batched mode.

use bytes::Bytes;
use shared::devices::submission as parse;
use shared::runtime::json::{items, json};

use crate::{headers_and_body, oracle};

/// Parses the input in all three modes; in binary mode the lines before the first empty line are headers.
pub fn cloud_event(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    if let Ok(value) = json(&body)
        && let Ok(submission) = parse::structured(&body, value)
    {
        assert!(submission.event_id.is_some());
        oracle::check(&body, &submission);
    }
    for item in items::array(&body, 64).unwrap_or_default() {
        if let Ok(submission) = parse::structured(&body, item) {
            oracle::check(&body, &submission);
        }
    }
    let (lines, data) = headers_and_body(input);
    let named = lines.into_iter().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
    let headers: Vec<_> = named.collect();
    let data = Bytes::copy_from_slice(data);
    let binary = parse::binary("application/json", headers.iter().copied(), &data);
    // Extensions are ignored, whatever they hold, and so is the content type where it is repeated.
    let ignored: [(&str, &[u8]); 3] =
        [("anextension", input), ("an-extension", b"100%"), ("datacontenttype", b"application/json")];
    let with_ignored = headers.iter().copied().chain(ignored);
    assert_eq!(parse::binary("application/json", with_ignored, &data), binary, "an ignored header counts");
    if let Ok(submission) = binary {
        assert!(submission.event_id.is_some());
        for required in ["specversion", "type", "source", "id", "subject"] {
            assert_eq!(headers.iter().filter(|(name, _)| *name == required).count(), 1, "{required}");
        }
        oracle::check(&data, &submission);
    }
}
