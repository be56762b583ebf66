//! Conditional requests: whether the caller already has the current state, or changes the state that it has read.

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{Code, Problem};

/// The `If-Match` of a request that changes something (RFC 9110, section 13.1.1): so that of two callers that read the
/// same state, the second cannot overwrite the change of the first without having seen it.
#[derive(Debug, Clone, Copy)]
pub struct IfMatch<'a>(&'a HeaderMap);

impl<'a> IfMatch<'a> {
    /// That of this request: 428 if there is none.
    pub fn required(headers: &'a HeaderMap) -> Result<Self, Problem> {
        if headers.contains_key(header::IF_MATCH) {
            return Ok(Self(headers));
        }
        let detail = "send the ETag of the state that you have read as If-Match, or If-Match: * to change any state";
        Err(Problem::new(Code::PRECONDITION_REQUIRED, detail))
    }

    /// Whether every state may be changed: `*`.
    pub fn is_any(self) -> bool {
        self.lines().any(|line| line == b"*")
    }

    /// Refuses to change the state with this entity tag unless the request names it: 412. The comparison is strong, so
    /// that a weak tag names none. The state that is changed in the end has to be this one.
    pub fn check(self, tag: &[u8]) -> Result<(), Problem> {
        if self.names(|given| is_same(given, tag)) {
            return Ok(());
        }
        let detail = "If-Match does not name the current ETag: read the state again (weak tags, W/\"…\", never match)";
        Err(Problem::new(Code::PRECONDITION_FAILED, detail))
    }

    /// The same for a state that has several entity tags: whether it is named by one of them. `is_its` is called with
    /// the text between the quotes, and also with that text without the suffix of a proxy.
    pub fn names_any(self, is_its: impl Fn(&[u8]) -> bool) -> bool {
        self.names(|given| {
            let text = given.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or_default();
            SUFFIXES.iter().any(|suffix| text.strip_suffix(*suffix).is_some_and(&is_its))
        })
    }

    fn names(self, is_same: impl Fn(&[u8]) -> bool) -> bool {
        let names = |(given, is_weak): (&[u8], bool)| !is_weak && is_same(given);
        self.is_any() || self.lines().any(|line| entity_tags(line).any(names))
    }

    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.get_all(header::IF_MATCH).iter().map(|line| line.as_bytes().trim_ascii())
    }
}

/// `If-None-Match` (RFC 9110, section 13.1.2): `*`, or a weak comparison with each entity tag listed.
pub(crate) fn is_fresh(headers: &HeaderMap, tag: &[u8]) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .map(HeaderValue::as_bytes)
        .any(|value| value.trim_ascii() == b"*" || entity_tags(value).any(|(given, _)| is_same(given, tag)))
}

/// Whether `If-None-Match` lists this very tag.
pub(super) fn lists(headers: &HeaderMap, tag: &[u8]) -> bool {
    let mut lines = headers.get_all(header::IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
    lines.any(|line| entity_tags(line).any(|(given, _)| given == tag))
}

/// The suffixes of proxies that compressed the answer, and none: Apache's `mod_deflate` and `mod_brotli`, Caddy and
/// lighttpd append `-gzip` and the like inside the quotes, Jetty `--gzip`. No tag of ours ends so, except for that of an
/// answer that we have compressed ourselves, which is the same content.
const SUFFIXES: [&[u8]; 7] = [b"", b"-gzip", b"--gzip", b"-br", b"--br", b"-zstd", b"-deflate"];

/// Whether the caller has this tag, perhaps with the suffix of a proxy.
fn is_same(given: &[u8], tag: &[u8]) -> bool {
    let Some(opened) = tag.strip_suffix(b"\"") else { return false };
    let Some(rest) = given.strip_prefix(opened).and_then(|rest| rest.strip_suffix(b"\"")) else { return false };
    SUFFIXES.contains(&rest)
}

/// The entity tags of a list, each in its quotes and without `W/`, and whether it is weak; up to the first malformed one.
fn entity_tags(mut list: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    std::iter::from_fn(move || {
        while let Some((b' ' | b'\t' | b',', rest)) = list.split_first() {
            list = rest;
        }
        let weak = list.strip_prefix(b"W/");
        let tag = weak.unwrap_or(list);
        let end = tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = tag.split_at_checked(end + 2)?;
        list = rest;
        Some((tag, weak.is_some()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample;

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
        for suffix in ["-gzip", "--gzip", "-br", "-zstd", "-deflate"] {
            for list in [format!("\"7{suffix}\""), format!("\"6\", W/\"7{suffix}\"")] {
                let headers = [(header::IF_NONE_MATCH, HeaderValue::try_from(&list).unwrap())].into_iter().collect();
                assert!(is_fresh(&headers, b"\"7\""), "{list}");
                assert!(!is_fresh(&headers, b"\"6x\""), "{list}");
            }
        }
        for list in [
            "\"7-\"",
            "\"7-gzip-br\"",
            "\"7-GZIP\"",
            "\"-gzip\"",
            "\"77-gzip\"",
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

    #[test]
    fn if_match() {
        let headers = |lines: &[&'static str]| -> HeaderMap {
            lines.iter().map(|line| (header::IF_MATCH, HeaderValue::from_static(line))).collect()
        };
        let checked = |lines: &[&'static str]| {
            let headers = headers(lines);
            let if_match = IfMatch::required(&headers)?;
            if_match.check(b"\"7\"").map(|()| if_match.is_any())
        };
        for (lines, is_any) in [
            (&["\"7\""][..], false),
            (&["\"6\", \"7\""], false),
            (&["W/\"7\", \"7\""], false),
            (&["\"6\"", "\"7\""], false),
            // A proxy that compresses added the suffix: it is the same state.
            (&["\"7-gzip\""], false),
            (&["*"], true),
            (&[" * "], true),
        ] {
            assert_eq!(checked(lines).map_err(|problem| problem.code), Ok(is_any), "{lines:?}");
        }
        for lines in [&["W/\"7\""][..], &["\"6\""], &["7"], &[""], &["\"*\""], &["\"77\"", "W/\"7\""], &["8, \"7\""]] {
            assert_eq!(checked(lines).unwrap_err().code, Code::PRECONDITION_FAILED, "{lines:?}");
        }
        assert_eq!(checked(&[]).unwrap_err().code, Code::PRECONDITION_REQUIRED);
    }

    #[test]
    fn a_state_may_have_several_tags() {
        let named = |list: &'static str| {
            let headers: HeaderMap = [(header::IF_MATCH, HeaderValue::from_static(list))].into_iter().collect();
            IfMatch::required(&headers).unwrap().names_any(|tag| tag == b"7-a" || tag == b"8-b")
        };
        for list in ["\"7-a\"", "\"1\", \"8-b\"", "\"8-b-gzip\"", "\"7-a--br\"", "*"] {
            assert!(named(list), "{list}");
        }
        for list in ["W/\"7-a\"", "7-a", "\"7\"", "\"7-a-gzip-gzip\"", "\"\"", ""] {
            assert!(!named(list), "{list}");
        }
    }

    proptest! {
        /// Lists of tags, as clients and proxies send them: fresh if one of them is ours, with or without a suffix.
        #[test]
        fn a_list_is_fresh_if_one_of_its_tags_is_ours(
            list in vec((0..4_u8, any::<bool>(), sample::select(&["", "-gzip", "-br", "--gzip", "-x"][..])), 0..5),
            separator in sample::select(&[",", ", ", " ,\t"][..]),
        ) {
            let tag = |(number, is_weak, suffix): &(u8, bool, &str)| {
                format!("{}\"{number}{suffix}\"", if *is_weak { "W/" } else { "" })
            };
            let text = list.iter().map(tag).collect::<Vec<_>>().join(separator);
            let headers = [(header::IF_NONE_MATCH, HeaderValue::try_from(text).unwrap())].into_iter().collect();
            let expected = list.iter().any(|(number, _, suffix)| *number == 3 && *suffix != "-x");
            prop_assert_eq!(is_fresh(&headers, b"\"3\""), expected);
        }
    }
}
