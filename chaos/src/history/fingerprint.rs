//! Fingerprints: equal for what is equal byte for byte.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 of some bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

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
    fn a_hash_is_the_one_that_everybody_computes() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

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
