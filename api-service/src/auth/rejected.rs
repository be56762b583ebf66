//! Why a token is no good.

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// No JWT, or longer than any of ours.
    Malformed,
    /// Signed in a way that is not on the list.
    Algorithm,
    UnknownKey,
    /// Signed with one of several keys, and it does not say which.
    AmbiguousKey,
    /// It cannot be found out yet whether its key is published.
    NoKeys,
    Signature,
    /// The claims are malformed, or not a JSON object.
    Claims,
    /// What is wrong with the claim of this name.
    Claim(&'static str, Wrong),
    Expired,
    NotYetValid,
    /// Its issuer is not this one, which is configured.
    Issuer(String),
    /// Its audience is not this one, which is configured.
    Audience(String),
}

/// What is wrong with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Missing,
    Twice,
    /// It is not what it has to be.
    Not(&'static str),
}

impl Rejected {
    /// Its reason in the metric, and what the caller is told.
    pub fn parts(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Malformed => ("malformed", "the token is malformed".into()),
            Self::Algorithm => {
                ("algorithm", "the token is signed with an algorithm (`alg`) that is not accepted".into())
            }
            Self::UnknownKey => ("unknown_key", "the token is signed with an unknown key (`kid`)".into()),
            Self::AmbiguousKey => {
                ("ambiguous_key", "the token does not identify one key: several match its `alg` and `kid`".into())
            }
            Self::NoKeys => ("no_keys", "the token's key (`kid`) is unknown until the JWKS has been fetched".into()),
            Self::Signature => ("signature", "the token's signature does not match".into()),
            Self::Claims => ("claim", "the token's claims are malformed, or not a JSON object".into()),
            Self::Claim(name, Wrong::Missing) => ("claim", format!("the token has no `{name}`").into()),
            Self::Claim(name, Wrong::Twice) => ("claim", format!("the token has `{name}` more than once").into()),
            Self::Claim(name, Wrong::Not(expected)) => {
                ("claim", format!("the token's `{name}` must be {expected}").into())
            }
            Self::Expired => ("expired", "the token has expired".into()),
            Self::NotYetValid => ("not_yet_valid", "the token is not valid yet".into()),
            Self::Issuer(expected) => ("issuer", format!("the token's issuer (`iss`) must be {expected}").into()),
            Self::Audience(expected) => {
                ("audience", format!("the token's audience (`aud`) must be {expected}, or contain it").into())
            }
        }
    }
}
