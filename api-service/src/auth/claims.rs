//! The claims of a token, as its JSON has them. A claim that is null counts as absent.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::claim_path::{ClaimPath, ClaimPaths};
use super::rejected::{Rejected, Wrong};
use crate::http::members::Members;

const STRINGS: &str = "a string or a list of strings";

pub(super) struct Claims<'a>(Members<'a>);

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// What a path leads to.
enum Found<'a> {
    Value(&'a RawValue),
    /// A list without this item. The claim is there, and names nothing: a token is bound to nothing then, and not free.
    NoItem,
}

impl<'a> Claims<'a> {
    /// Reads claims; an error if the text is not a JSON object.
    pub(super) fn read(text: &'a str) -> Result<Self, Rejected> {
        serde_json::from_str(text).map(Self).map_err(|_| Rejected::Claims)
    }

    /// A claim at the top.
    pub(super) fn named<T: Deserialize<'a>>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Rejected> {
        let shown = || Cow::Borrowed(name);
        only(&self.0, name, &shown)?.map(|raw| typed(raw, shown, expected)).transpose()
    }

    /// The first of these claims that the token has.
    pub(super) fn first<T: Deserialize<'a>>(
        &self,
        paths: &ClaimPaths,
        expected: &'static str,
    ) -> Result<Option<T>, Rejected> {
        for path in paths.iter() {
            if let Some(Found::Value(raw)) = self.find(path)? {
                return typed(raw, shown(path), expected).map(Some);
            }
        }
        Ok(None)
    }

    /// Those of these claims that the token has; each must be a string or a list of strings.
    pub(super) fn strings(&self, paths: &ClaimPaths) -> Result<Vec<OneOrMany>, Rejected> {
        let found = paths.iter().filter_map(|path| {
            let found = self.find(path).transpose()?;
            Some(found.and_then(|found| match found {
                Found::Value(raw) => typed(raw, shown(path), STRINGS),
                Found::NoItem => Ok(OneOrMany::Many(Vec::new())),
            }))
        });
        found.collect()
    }

    /// Whether the claim is this text, or a list of strings with it; `None` if it is absent. Numbers, true and false
    /// are compared as JSON writes them.
    pub(super) fn equals(&self, path: &ClaimPath, text: &str) -> Result<Option<bool>, Rejected> {
        let Some(Found::Value(raw)) = self.find(path)? else { return Ok(None) };
        Ok(Some(match serde_json::from_str(raw.get()) {
            Ok(Value::String(one)) => one == text,
            Ok(Value::Array(many)) => many.iter().all(Value::is_string) && many.iter().any(|one| one == text),
            Ok(Value::Bool(_) | Value::Number(_)) => raw.get() == text,
            _ => false,
        }))
    }

    /// `None` if it is absent.
    fn find(&self, path: &ClaimPath) -> Result<Option<Found<'a>>, Rejected> {
        let name = shown(path);
        let no_member = || Rejected::Claim(name(), Wrong::Not("a member of an object".into()));
        let (first, rest) = path.steps();
        let mut found = only(&self.0, first, &name)?;
        for step in rest {
            let Some(value) = found else { return Ok(None) };
            found = match value.get().as_bytes().first() {
                Some(b'{') => only(&typed(value, name, "a member of an object")?, step, &name)?,
                Some(b'[') => {
                    let items: Vec<&RawValue> = typed(value, name, "an item of a list")?;
                    match items.get(index(step).ok_or_else(no_member)?) {
                        Some(item) if !is_null(item) => Some(*item),
                        _ => return Ok(Some(Found::NoItem)),
                    }
                }
                _ => return Err(no_member()),
            };
        }
        Ok(found.map(Found::Value))
    }
}

/// The place of an item of a list: digits without a leading zero (RFC 6901).
fn index(step: &str) -> Option<usize> {
    step.parse().ok().filter(|index: &usize| index.to_string() == step)
}

/// The name of a claim for an error.
fn shown(path: &ClaimPath) -> impl Fn() -> Cow<'static, str> + Copy {
    move || path.to_string().into()
}

/// The one member with this name; `None` if it is absent or null.
fn only<'a>(
    members: &Members<'a>,
    member: &str,
    name: &dyn Fn() -> Cow<'static, str>,
) -> Result<Option<&'a RawValue>, Rejected> {
    match members.named(member)[..] {
        [] => Ok(None),
        [value] => Ok(Some(value).filter(|value| !is_null(value))),
        _ => Err(Rejected::Claim(name(), Wrong::Twice)),
    }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

fn typed<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    name: impl Fn() -> Cow<'static, str>,
    expected: &'static str,
) -> Result<T, Rejected> {
    serde_json::from_str(raw.get()).map_err(|_| Rejected::Claim(name(), Wrong::Not(expected.into())))
}
