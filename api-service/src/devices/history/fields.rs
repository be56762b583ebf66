//! The parts of payloads that a caller asks for: JSON pointers (RFC 6901), separated by commas.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The most pointers of a request.
pub(in crate::devices) const MAX_FIELDS: usize = 50;
/// The most names of a pointer: as deep as a payload may be nested. It bounds recursion.
pub(in crate::devices) const MAX_NAMES: usize = 64;
pub(super) const EXPECTED: &str = "1 to 50 JSON pointers (RFC 6901) separated by commas, each with a slash in front and of up \
    to 64 names, none twice and none into a part that another one names, such as /temp_c,/axes/0";

#[derive(Debug)]
pub(super) struct Fields {
    pub(super) pointers: Vec<Pointer>,
    tree: Node,
}

#[derive(Debug)]
pub(super) struct Pointer {
    pub(super) text: String,
    tokens: Vec<String>,
}

/// A place in a payload that a pointer leads to, if there is nothing below it, or passes.
#[derive(Debug, Default)]
struct Node {
    below: BTreeMap<String, Node>,
}

impl Fields {
    /// `None` if there are too many pointers, if one is malformed, too long or empty (that one is the whole payload), or
    /// if a part would be there twice: then a page could be many times as large as its events.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pointers: Vec<_> = text.split(',').take(MAX_FIELDS + 1).map(Pointer::parse).collect::<Option<_>>()?;
        let mut tree = Node::default();
        for Pointer { tokens, .. } in &pointers {
            tokens.iter().fold(&mut tree, |node, token| node.below.entry(token.clone()).or_default());
        }
        (pointers.len() <= MAX_FIELDS && are_apart(&pointers)).then_some(Self { pointers, tree })
    }

    /// The parts of a payload that the pointers lead to.
    pub(super) fn of<'a>(&'a self, payload: &'a RawValue) -> serde_json::Result<Part<'a>> {
        serde_json::Deserializer::from_str(payload.get()).deserialize_any(Below(&self.tree))
    }
}

/// Whether no pointer leads to, or into, what another one leads to.
fn are_apart(pointers: &[Pointer]) -> bool {
    let mut all: Vec<&[String]> = pointers.iter().map(|pointer| pointer.tokens.as_slice()).collect();
    // Then what is inside of a part comes right behind it.
    all.sort_unstable();
    !all.windows(2).any(|pair| matches!(pair, [part, next] if next.starts_with(part)))
}

impl Pointer {
    fn parse(text: &str) -> Option<Self> {
        let token = |token: &str| {
            let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
            token.split('~').skip(1).all(is_escaped).then(|| token.replace("~1", "/").replace("~0", "~"))
        };
        let tokens: Vec<_> =
            text.strip_prefix('/')?.split('/').take(MAX_NAMES + 1).map(token).collect::<Option<_>>()?;
        (tokens.len() <= MAX_NAMES).then(|| Self { text: text.to_owned(), tokens })
    }
}

/// A part of a payload. It is written as a payload without everything else; elements of an array that come before a part
/// are null, so that each part keeps its place.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Whole(&'a RawValue),
    Nothing,
    Object(BTreeMap<&'a str, Part<'a>>),
    Array(BTreeMap<usize, Part<'a>>),
}

impl<'a> Part<'a> {
    /// The value that a pointer leads to.
    pub(super) fn at(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        let mut part = self;
        for token in &pointer.tokens {
            part = match part {
                Self::Object(parts) => parts.get(token.as_str())?,
                Self::Array(parts) => parts.get(&index(token)?)?,
                Self::Whole(_) | Self::Nothing => return None,
            };
        }
        if let Self::Whole(value) = part { Some(value) } else { None }
    }

    fn exists(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(value) => value.serialize(serializer),
            Self::Nothing => serializer.collect_map(BTreeMap::<&str, ()>::new()),
            Self::Object(parts) => serializer.collect_map(parts),
            Self::Array(parts) => {
                let length = parts.last_key_value().map_or(0, |(last, _)| last + 1);
                serializer.collect_seq((0..length).map(|index| parts.get(&index)))
            }
        }
    }
}

/// An index of an array: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    token.parse().ok().filter(|index: &usize| index.to_string() == token)
}

/// Reads the value at a node.
struct At<'a>(&'a Node);

impl<'de: 'a, 'a> DeserializeSeed<'de> for At<'a> {
    type Value = Part<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Part<'a>, D::Error> {
        let Self(node) = self;
        if node.below.is_empty() {
            <&'de RawValue>::deserialize(deserializer).map(Part::Whole)
        } else {
            deserializer.deserialize_any(Below(node))
        }
    }
}

/// Reads the parts below a node.
struct Below<'a>(&'a Node);

impl<'de: 'a, 'a> Visitor<'de> for Below<'a> {
    type Value = Part<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part<'a>, A::Error> {
        let mut parts = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.0.below.get_key_value(&name) {
                Some((name, node)) => {
                    let part = map.next_value_seed(At(node))?;
                    if part.exists() {
                        parts.insert(name.as_str(), part);
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(if parts.is_empty() { Part::Nothing } else { Part::Object(parts) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Part<'a>, A::Error> {
        let nodes: BTreeMap<_, _> =
            self.0.below.iter().filter_map(|(token, node)| Some((index(token)?, node))).collect();
        let mut parts = BTreeMap::new();
        for index in 0_usize.. {
            match nodes.get(&index) {
                Some(&node) => {
                    let Some(part) = items.next_element_seed(At(node))? else { break };
                    if part.exists() {
                        parts.insert(index, part);
                    }
                }
                None if items.next_element::<IgnoredAny>()?.is_none() => break,
                None => {}
            }
        }
        Ok(if parts.is_empty() { Part::Nothing } else { Part::Array(parts) })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Part<'a>, E> {
        Ok(Part::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Part<'a>, E> {
        Ok(Part::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Part<'a>, E> {
        Ok(Part::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part<'a>, E> {
        Ok(Part::Nothing)
    }

    fn visit_str<E>(self, _: &str) -> Result<Part<'a>, E> {
        Ok(Part::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Part<'a>, E> {
        Ok(Part::Nothing)
    }
}

#[cfg(test)]
mod tests;
