//! Why a token is no good.

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
    /// Its reason in the metric, and what the caller is told.
    pub const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("malformed", "the token is malformed"),
            Self::Algorithm => ("algorithm", "the token is signed with an algorithm that is not accepted"),
            Self::UnknownKey => ("unknown_key", "the token is signed with a key that is not known"),
            Self::AmbiguousKey => ("ambiguous_key", "the token does not say which of several keys it is signed with"),
            Self::NoKeys => ("no_keys", "it is not known yet whether the key of the token is published"),
            Self::Signature => ("signature", "the token's signature does not fit"),
            Self::Claim => ("claim", "a claim of the token is missing or malformed"),
            Self::Expired => ("expired", "the token has expired"),
            Self::NotYetValid => ("not_yet_valid", "the token is not valid yet"),
            Self::Issuer => ("issuer", "the token has another issuer"),
            Self::Audience => ("audience", "the token is for another audience"),
        }
    }
}
