//! The parts of payloads that a caller asks for: JSON pointers (RFC 6901), separated by commas.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The most pointers of a request.
pub(in crate::devices) const MAX_FIELDS: usize = 50;
pub(super) const EXPECTED: &str =
    "1 to 50 JSON pointers (RFC 6901) separated by commas, each with a slash in front, such as /temp_c,/axes/0";

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

/// A place in a payload that a pointer leads to, or passes.
#[derive(Debug, Default)]
struct Node {
    is_wanted: bool,
    below: BTreeMap<String, Node>,
}

impl Fields {
    /// `None` if there are too many pointers, or if one is malformed or empty: that one is the whole payload.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pointers: Vec<_> = text.split(',').take(MAX_FIELDS + 1).map(Pointer::parse).collect::<Option<_>>()?;
        let mut tree = Node::default();
        for Pointer { tokens, .. } in &pointers {
            let place = tokens.iter().fold(&mut tree, |node, token| node.below.entry(token.clone()).or_default());
            place.is_wanted = true;
        }
        (pointers.len() <= MAX_FIELDS).then_some(Self { pointers, tree })
    }

    /// The parts of a payload that the pointers lead to.
    pub(super) fn of<'a>(&'a self, payload: &'a RawValue) -> serde_json::Result<Part<'a>> {
        inside(&self.tree, payload).map(|inside| Part { whole: None, inside })
    }
}

impl Pointer {
    fn parse(text: &str) -> Option<Self> {
        let token = |token: &str| {
            let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
            token.split('~').skip(1).all(is_escaped).then(|| token.replace("~1", "/").replace("~0", "~"))
        };
        let tokens = text.strip_prefix('/')?.split('/').map(token).collect::<Option<_>>()?;
        Some(Self { text: text.to_owned(), tokens })
    }
}

/// A part of a payload: all of it, or parts of it. It is written as a payload without everything else; elements of an
/// array that come before a part are null, so that each part keeps its place.
#[derive(Debug)]
pub(super) struct Part<'a> {
    whole: Option<&'a RawValue>,
    inside: Inside<'a>,
}

#[derive(Debug)]
enum Inside<'a> {
    Nothing,
    Object(BTreeMap<&'a str, Part<'a>>),
    Array(BTreeMap<usize, Part<'a>>),
}

impl<'a> Part<'a> {
    /// The value that a pointer leads to.
    pub(super) fn at(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        let mut part = self;
        for token in &pointer.tokens {
            part = match &part.inside {
                Inside::Object(parts) => parts.get(token.as_str())?,
                Inside::Array(parts) => parts.get(&index(token)?)?,
                Inside::Nothing => return None,
            };
        }
        part.whole
    }

    fn exists(&self) -> bool {
        self.whole.is_some() || !matches!(self.inside, Inside::Nothing)
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.whole, &self.inside) {
            (Some(whole), _) => whole.serialize(serializer),
            (None, Inside::Object(parts)) => serializer.collect_map(parts),
            (None, Inside::Array(parts)) => {
                let length = parts.last_key_value().map_or(0, |(last, _)| last + 1);
                serializer.collect_seq((0..length).map(|index| parts.get(&index)))
            }
            (None, Inside::Nothing) => serializer.collect_map(BTreeMap::<&str, ()>::new()),
        }
    }
}

/// An index of an array: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    token.parse().ok().filter(|index: &usize| index.to_string() == token)
}

fn inside<'a>(node: &'a Node, value: &'a RawValue) -> serde_json::Result<Inside<'a>> {
    serde_json::Deserializer::from_str(value.get()).deserialize_any(Below(node))
}

/// Reads the value at a node.
struct At<'a>(&'a Node);

impl<'de: 'a, 'a> DeserializeSeed<'de> for At<'a> {
    type Value = Part<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Part<'a>, D::Error> {
        let Self(node) = self;
        if !node.is_wanted {
            return Ok(Part { whole: None, inside: deserializer.deserialize_any(Below(node))? });
        }
        let whole = <&'de RawValue>::deserialize(deserializer)?;
        let inside =
            if node.below.is_empty() { Inside::Nothing } else { inside(node, whole).map_err(D::Error::custom)? };
        Ok(Part { whole: Some(whole), inside })
    }
}

/// Reads the parts below a node.
struct Below<'a>(&'a Node);

impl<'de: 'a, 'a> Visitor<'de> for Below<'a> {
    type Value = Inside<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inside<'a>, A::Error> {
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
        Ok(if parts.is_empty() { Inside::Nothing } else { Inside::Object(parts) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Inside<'a>, A::Error> {
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
        Ok(if parts.is_empty() { Inside::Nothing } else { Inside::Array(parts) })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Inside<'a>, E> {
        Ok(Inside::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Inside<'a>, E> {
        Ok(Inside::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Inside<'a>, E> {
        Ok(Inside::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Inside<'a>, E> {
        Ok(Inside::Nothing)
    }

    fn visit_str<E>(self, _: &str) -> Result<Inside<'a>, E> {
        Ok(Inside::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Inside<'a>, E> {
        Ok(Inside::Nothing)
    }
}

#[cfg(test)]
mod tests;
