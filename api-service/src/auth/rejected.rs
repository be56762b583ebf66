//! Why a token is rejected.

use std::borrow::Cow;

/// The longest token, in bytes. Entra ID names up to 199 groups in a token, which has some 11,000 bytes then.
pub(super) const MAX_TOKEN: usize = 15_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// Not a signed JWT, for this reason.
    Malformed(&'static str),
    /// Longer than allowed: this many bytes.
    TooLong(usize),
    /// Signed with an algorithm that is not accepted.
    Algorithm,
    UnknownKey,
    /// Several keys match, and the token does not say which one.
    AmbiguousKey,
    /// Whether its key is published is not known yet.
    NoKeys,
    Signature,
    /// The claims are malformed, or not a JSON object.
    Claims,
    /// The claim with this name is wrong.
    Claim(Cow<'static, str>, Wrong),
    Expired,
    NotYetValid,
    /// The issuer is not this configured one.
    Issuer(String),
    /// This claim does not contain this configured audience.
    Audience(String, String),
}

/// What is wrong with a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    Missing,
    Twice,
    /// Not of the expected form, or not of the expected value, which this describes.
    Not(Cow<'static, str>),
}

impl Rejected {
    /// The reason for the metric, and the text for the caller: which check failed, and for which claim. It says nothing
    /// of our keys.
    pub fn parts(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Malformed(why) => ("malformed", format!("the token is malformed: {why}").into()),
            Self::TooLong(bytes) => {
                ("too_long", format!("the token is too long: it has {bytes} bytes, and may have {MAX_TOKEN}").into())
            }
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
            Self::Expired => ("expired", "the token has expired (`exp`)".into()),
            Self::NotYetValid => ("not_yet_valid", "the token is not valid yet (`nbf`)".into()),
            Self::Issuer(expected) => ("issuer", format!("the token's issuer (`iss`) must be {expected}").into()),
            Self::Audience(claim, expected) => {
                ("audience", format!("the token's audience (`{claim}`) must be {expected}, or contain it").into())
            }
        }
    }
}
