//! The names of objects.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 of an object's content. As text: 64 hexadecimal digits, in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectHash([u8; 32]);

impl ObjectHash {
    /// The hash of this content.
    pub fn of(content: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.iter_mut().zip(digest(&SHA256, content).as_ref()).for_each(|(to, from)| *to = *from);
        Self(hash)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ObjectHash {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// A text is no SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits, in lower case")]
pub struct ObjectHashError;

impl FromStr for ObjectHash {
    type Err = ObjectHashError;

    fn from_str(text: &str) -> Result<Self, ObjectHashError> {
        let mut hash = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != hash.len() || !rest.is_empty() {
            return Err(ObjectHashError);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4) | low).ok_or(ObjectHashError)?;
        }
        Ok(Self(hash))
    }
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hash_has_one_spelling(bytes in any::<[u8; 32]>(), at in 0..64_usize, other in "[g-zA-F ]") {
            let text = ObjectHash(bytes).to_string();
            prop_assert_eq!(text.parse(), Ok(ObjectHash(bytes)));
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &other);
            prop_assert_eq!(wrong.parse::<ObjectHash>(), Err(ObjectHashError));
            prop_assert_eq!(text[1..].parse::<ObjectHash>(), Err(ObjectHashError));
            prop_assert_eq!(format!("{text}00").parse::<ObjectHash>(), Err(ObjectHashError));
        }
    }

    #[test]
    fn it_is_the_sha_256_that_everybody_computes() {
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ObjectHash::of(b"abc").to_string(), of_abc);
    }
}
