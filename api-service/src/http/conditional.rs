//! Conditional requests: whether the caller already has the current state.

use axum::http::{HeaderMap, HeaderValue, header};

/// `If-None-Match` (RFC 9110, section 13.1.2): `*`, or a weak comparison with each entity tag listed.
pub(crate) fn is_fresh(headers: &HeaderMap, tag: &[u8]) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .map(HeaderValue::as_bytes)
        .any(|value| value.trim_ascii() == b"*" || entity_tags(value).any(|given| given == tag))
}

/// The entity tags of a list, each in its quotes and without `W/`, up to the first malformed one.
fn entity_tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let Some((b' ' | b'\t' | b',', rest)) = list.split_first() {
            list = rest;
        }
        let tag = list.strip_prefix(b"W/").unwrap_or(list);
        let end = tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = tag.split_at_checked(end + 2)?;
        list = rest;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match() {
        let fresh = |list: &'static str| {
            is_fresh(&[(header::IF_NONE_MATCH, HeaderValue::from_static(list))].into_iter().collect(), b"\"7\"")
        };
        for list in
            ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "\"6\",W/\"7\" , \"8\"", "*", " * ", ",\"6,\",,\"7\"", "\"7\", 8"]
        {
            assert!(fresh(list), "{list}");
        }
        for list in [
            "",
            "7",
            "\"6\"",
            "\"77\"",
            "w/\"7\"",
            "\"6\", \"8\"",
            "\"x,*,y\"",
            "\"6\", *",
            "\"7",
            "8, \"7\"",
            "\"x\",\"y,\"7\"",
        ] {
            assert!(!fresh(list), "{list}");
        }
        assert!(!is_fresh(&HeaderMap::new(), b"\"7\""));
        let mut both = HeaderMap::new();
        for tag in ["\"6\"", "\"7\""] {
            both.append(header::IF_NONE_MATCH, HeaderValue::from_static(tag));
        }
        assert!(is_fresh(&both, b"\"7\""));
        assert!(!is_fresh(&both, b""));
    }
}
