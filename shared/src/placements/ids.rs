//! The identifiers of videos, placements, validations and products.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::cache::CacheKey;
use crate::kafka::ids::{IdError, Key, id, token};

id!(
    /// The id of a product, which its owner chooses: 1 to 128 of `A-Z a-z 0-9 . _ : -`, and neither `.` nor `..`.
    pub ProductId,
    128,
    product
);

/// A client would remove a dot segment from the path of the product.
fn product(text: &str, max: usize) -> Result<(), IdError> {
    token(text, max)?;
    if matches!(text, "." | "..") { Err(IdError::DotSegment) } else { Ok(()) }
}

/// A text is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID, such as 01890a5d-ac96-774b-bcce-b302099a8057")]
pub struct UuidError;

/// The length of a UUID with hyphens, the only form that is read: a key has one spelling.
const LENGTH: usize = 36;

/// A newtype of a UUID; `Display` and `Debug` show it in lower case, with hyphens.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one: a UUIDv7 (RFC 9562).
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = UuidError;

            fn from_str(text: &str) -> Result<Self, UuidError> {
                let id = Some(text).filter(|text| text.len() == LENGTH).and_then(|text| Uuid::try_parse(text).ok());
                id.map(Self).ok_or(UuidError)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

uuid_id!(
    /// The id of a video.
    VideoId
);
uuid_id!(
    /// The id of a placement.
    PlacementId
);
uuid_id!(
    /// The id of a validation.
    ValidationId
);

impl VideoId {
    /// The aggregate of the video and its placements, which is the key of their records.
    pub fn aggregate(self) -> Arc<str> {
        self.to_string().into()
    }

    /// The key of its records.
    pub fn key(self) -> Key {
        Key::from(self.aggregate())
    }

    /// Its cache key.
    pub fn cache_key(self) -> CacheKey {
        CacheKey::new(&super::VIDEO, self.aggregate())
    }
}

impl ValidationId {
    /// Its cache key.
    pub fn cache_key(self) -> CacheKey {
        CacheKey::new(&super::VALIDATION, self.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057";
        for given in [text, &text.to_uppercase()] {
            let id: VideoId = given.parse().unwrap();
            assert_eq!((id.to_string(), format!("{id:?}")), (text.to_owned(), text.to_owned()));
            assert_eq!(id.cache_key().to_string(), format!("video:{text}"));
        }
        let braced = format!("{{{text}}}");
        let urn = format!("urn:uuid:{text}");
        let moved = "0189-0a5dac96-774b-bcce-b302099a8057";
        for bad in ["", "x", "1", &text[1..], &text.replace('-', ""), &braced, &urn, moved, &text.replace('a', "g")] {
            assert_eq!(bad.parse::<VideoId>(), Err(UuidError), "{bad}");
        }
        let id = ValidationId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.cache_key().to_string(), format!("validation:{id}"));
    }

    #[test]
    fn the_id_of_a_product_can_stand_in_a_path() {
        for good in ["mug", "...", "a.b_c:D-1"] {
            assert_eq!(good.parse::<ProductId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a b", "a/b", "\u{fc}", &"x".repeat(129)] {
            assert!(bad.parse::<ProductId>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_id_comes_back(bytes in any::<u128>()) {
            let id = PlacementId::from(Uuid::from_u128(bytes));
            prop_assert_eq!(id.to_string().parse::<PlacementId>(), Ok(id));
        }
    }
}
