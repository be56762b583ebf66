//! Conditional requests: whether the caller already has the current state.

use axum::http::{HeaderMap, HeaderValue, header};

/// `If-None-Match` (RFC 9110, section 13.1.2): `*`, or a weak comparison with each entity tag listed.
pub(crate) fn is_fresh(headers: &HeaderMap, tag: &[u8]) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .map(HeaderValue::as_bytes)
        .any(|value| value.trim_ascii() == b"*" || entity_tags(value).any(|given| is_same(given, tag)))
}

/// Whether the caller has this tag, perhaps with the suffix of a proxy that compressed the answer: Apache's
/// `mod_deflate` and `mod_brotli`, Caddy and lighttpd append `-gzip` and the like inside the quotes, Jetty `--gzip`. No
/// tag of ours ends so, except for that of a compressed file, which is the same content.
fn is_same(given: &[u8], tag: &[u8]) -> bool {
    let Some(opened) = tag.strip_suffix(b"\"") else { return false };
    let Some(rest) = given.strip_prefix(opened).and_then(|rest| rest.strip_suffix(b"\"")) else { return false };
    matches!(rest, b"" | b"-gzip" | b"--gzip" | b"-br" | b"--br" | b"-zstd" | b"-deflate")
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
