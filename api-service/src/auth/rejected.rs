//! Why a token is no good.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A claim that is missing, or has the wrong type.
    Claim,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
}

impl Rejected {
    /// For the metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::NoKeys => "no_keys",
            Self::Signature => "signature",
            Self::Claim => "claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the token is malformed",
            Self::Algorithm => "the token is signed with an algorithm that is not accepted",
            Self::UnknownKey => "the token is signed with a key that is not known",
            Self::AmbiguousKey => "the token does not say which of several keys it is signed with",
            Self::NoKeys => "it is not known yet whether the key of the token is published",
            Self::Signature => "the token's signature does not fit",
            Self::Claim => "a claim of the token is missing or malformed",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the token has another issuer",
            Self::Audience => "the token is for another audience",
        })
    }
}
