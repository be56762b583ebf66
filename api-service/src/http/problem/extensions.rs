//! The extension members of a problem (RFC 9457, section 3.2).

use std::borrow::Cow;

use serde::{Serialize, Serializer};

/// The value of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Extension {
    Text(Cow<'static, str>),
    Number(i64),
}

impl From<&'static str> for Extension {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Extension {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Extension {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// The members, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions(pub(super) Vec<(&'static str, Extension)>);

impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
