//! The claims of a token, each as it stands in it.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::rejected::{Rejected, Wrong};

/// The claims of a token that the service uses, by name.
pub(super) struct Claims<'a>(Vec<(&'static str, &'a RawValue)>);

impl<'a> Claims<'a> {
    /// Reads these claims, and ignores all others.
    ///
    /// # Errors
    /// The text is not a JSON object, or has one of these claims twice.
    pub(super) fn read(text: &'a str, names: &[&'static str]) -> Result<Self, Rejected> {
        let mut text = serde_json::Deserializer::from_str(text);
        Names(names).deserialize(&mut text).map_err(|_| Rejected::Claims)?
    }

    /// A claim that may be absent, but not null.
    pub(super) fn optional<T: Deserialize<'a>>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Rejected> {
        let Some((_, raw)) = self.0.iter().find(|(found, _)| *found == name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| Rejected::Claim(name, Wrong::Not(expected)))
    }

    /// A claim that every token needs.
    pub(super) fn required<T: Deserialize<'a>>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<T, Rejected> {
        self.optional(name, expected)?.ok_or(Rejected::Claim(name, Wrong::Missing))
    }
}

struct Names<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = Result<Claims<'de>, Rejected>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Result<Claims<'de>, Rejected>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut claims: Vec<(&'static str, &RawValue)> = Vec::new();
        let mut twice = None;
        while let Some(name) = map.next_key::<String>()? {
            let Some(known) = self.0.iter().find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if claims.iter().any(|(before, _)| before == known) {
                twice = Some(*known);
            }
            claims.push((known, map.next_value()?));
        }
        Ok(twice.map_or(Ok(Claims(claims)), |name| Err(Rejected::Claim(name, Wrong::Twice))))
    }
}
