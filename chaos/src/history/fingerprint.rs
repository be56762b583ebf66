//! A short fingerprint of a record: equal for records that are equal byte for byte.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The lengths of key, value and headers, and a hash of their bytes in order; null and empty differ.
pub fn fingerprint(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> String {
    let mut hasher = DefaultHasher::new();
    (key, value, headers).hash(&mut hasher);
    let length = |part: Option<&[u8]>| part.map_or_else(|| "null".to_owned(), |part| part.len().to_string());
    format!("key {}, value {}, headers {}, {:016x}", length(key), length(value), headers.len(), hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_a_byte_differs() {
        let all = [
            fingerprint(None, None, &[]),
            fingerprint(Some(b""), None, &[]),
            fingerprint(None, Some(b""), &[]),
            fingerprint(Some(b"ab"), Some(b"c"), &[]),
            fingerprint(Some(b"a"), Some(b"bc"), &[]),
            fingerprint(None, None, &[(b"a", None)]),
            fingerprint(None, None, &[(b"a", Some(b""))]),
            fingerprint(None, None, &[(b"a", None), (b"b", None)]),
            fingerprint(None, None, &[(b"b", None), (b"a", None)]),
        ];
        assert_eq!(std::collections::BTreeSet::from(all.clone()).len(), all.len());
        assert!(fingerprint(Some(b"ab"), None, &[]).starts_with("key 2, value null, headers 0, "));
    }
}
