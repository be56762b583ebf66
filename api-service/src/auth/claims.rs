//! The claims of a token, as its JSON has them.

use serde::Deserialize;

use super::rejected::{Rejected, Wrong};
use crate::http::members::Members;

pub(super) struct Claims<'a>(Members<'a>);

impl<'a> Claims<'a> {
    /// Reads claims; an error if the text is not a JSON object, or has one of `names` twice.
    pub(super) fn read(text: &'a str, names: &[&'static str]) -> Result<Self, Rejected> {
        let claims: Members<'a> = serde_json::from_str(text).map_err(|_| Rejected::Claims)?;
        let twice = names.iter().copied().find(|name| claims.named(name).len() > 1);
        twice.map_or(Ok(Self(claims)), |name| Err(Rejected::Claim(name, Wrong::Twice)))
    }

    /// A claim that may be absent, but not null.
    pub(super) fn optional<T: Deserialize<'a>>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Rejected> {
        let Some(raw) = self.0.named(name).first().copied() else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| Rejected::Claim(name, Wrong::Not(expected)))
    }

    /// A claim that every token must have.
    pub(super) fn required<T: Deserialize<'a>>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<T, Rejected> {
        self.optional(name, expected)?.ok_or(Rejected::Claim(name, Wrong::Missing))
    }
}
