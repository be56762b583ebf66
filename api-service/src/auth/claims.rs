//! Claims that bind a token to things of a domain.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// What a token is bound to, by claim.
pub(super) struct Bound(pub(super) Vec<(&'static str, Vec<String>)>);

impl Bound {
    /// Reads these claims of an object, and passes over the others.
    ///
    /// # Errors
    /// One is neither a string nor a list of them, or is there twice.
    pub(super) fn read(claims: &str, names: &[&'static str]) -> serde_json::Result<Self> {
        let mut text = serde_json::Deserializer::from_str(claims);
        Names(names).deserialize(&mut text)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

struct Names<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = Bound;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bound, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Bound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bound, A::Error> {
        let mut bound: Vec<(&'static str, Vec<String>)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some(known) = self.0.iter().find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if bound.iter().any(|(before, _)| before == known) {
                return Err(A::Error::duplicate_field(known));
            }
            let ids = match map.next_value()? {
                OneOrMany::One(id) => vec![id],
                OneOrMany::Many(ids) => ids,
            };
            bound.push((known, ids));
        }
        Ok(Bound(bound))
    }
}
