//! Why a token is no good.

use std::fmt;

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
    /// For the metric.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::NoKeys => "no_keys",
            Self::Signature => "signature",
            Self::Claims | Self::Claim(..) => "claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer(_) => "issuer",
            Self::Audience(_) => "audience",
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the token is malformed"),
            Self::Algorithm => f.write_str("the token is signed with an algorithm (`alg`) that is not accepted"),
            Self::UnknownKey => f.write_str("the token is signed with an unknown key (`kid`)"),
            Self::AmbiguousKey => f.write_str("the token does not identify one key: several match its `alg` and `kid`"),
            Self::NoKeys => f.write_str("the token's key (`kid`) is unknown until the JWKS has been fetched"),
            Self::Signature => f.write_str("the token's signature does not match"),
            Self::Claims => f.write_str("the token's claims are malformed, or not a JSON object"),
            Self::Claim(name, Wrong::Missing) => write!(f, "the token has no `{name}`"),
            Self::Claim(name, Wrong::Twice) => write!(f, "the token has `{name}` more than once"),
            Self::Claim(name, Wrong::Not(expected)) => write!(f, "the token's `{name}` must be {expected}"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYetValid => f.write_str("the token is not valid yet"),
            Self::Issuer(expected) => write!(f, "the token's issuer (`iss`) must be {expected}"),
            Self::Audience(expected) => write!(f, "the token's audience (`aud`) must be {expected}, or contain it"),
        }
    }
}
