//! Whether a token is good, and what it says. Pure: no I/O, no clock of its own.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Deserializer};

use crate::config::JwtConfig;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 8 * 1024;
/// The longest subject: it goes into a header of Kafka and a column of PostgreSQL.
const MAX_SUBJECT: usize = 256;
/// How far clocks may be apart, in seconds.
const LEEWAY: f64 = 30.0;

/// Whom a good token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `sub`.
    pub subject: String,
    /// `roles`.
    pub roles: Vec<String>,
    /// `device_id`: the devices that the token is bound to, where it has the claim.
    pub devices: Option<Vec<String>>,
}

impl Caller {
    /// Whether it has one of these roles.
    pub fn has_any(&self, roles: &[&str]) -> bool {
        self.roles.iter().any(|role| roles.contains(&role.as_str()))
    }
}

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// No JWT, or longer than any of ours.
    Malformed,
    /// Signed in a way that is not on the list.
    Algorithm,
    /// The signature is not of our key.
    Signature,
    /// A claim that is missing, or has the wrong type.
    Claim,
    /// Too old.
    Expired,
    /// Too young.
    NotYetValid,
    /// From somebody else.
    Issuer,
    /// For somebody else.
    Audience,
}

impl Rejected {
    /// For the metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
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
            Self::Signature => "the token's signature does not fit",
            Self::Claim => "a claim of the token is missing or malformed",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the token has another issuer",
            Self::Audience => "the token is for another audience",
        })
    }
}

/// Checks tokens.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default)]
    iss: serde_json::Value,
    #[serde(default)]
    aud: serde_json::Value,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    device_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A claim may be absent, but not null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Verifier {
    /// A verifier for these settings.
    pub fn new(config: &JwtConfig) -> Self {
        // The library is asked for the algorithm and the signature alone: its own checks of claims
        // read the system's clock, and pass over claims that are absent or of another type.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            key: DecodingKey::from_secret(config.jwt_secret.expose().as_bytes()),
            validation,
            issuer: config.jwt_issuer.clone(),
            audience: config.jwt_audience.clone(),
        }
    }

    /// The caller that a token speaks for, at a time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// Why it is no good.
    pub fn verify(&self, token: &str, now: u64) -> Result<Caller, Rejected> {
        if token.len() > MAX_TOKEN {
            return Err(Rejected::Malformed);
        }
        let decoded = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| rejected(token, &error))?;
        // RFC 7515, section 4.1.11: what is critical and not understood makes a token invalid.
        if decoded.header.crit.is_some() {
            return Err(Rejected::Malformed);
        }
        self.check(decoded.claims, now)
    }

    fn check(&self, claims: Claims, now: u64) -> Result<Caller, Rejected> {
        #[expect(clippy::cast_precision_loss, reason = "seconds of this era are far below 2^53")]
        let now = now as f64;
        if claims.exp + LEEWAY <= now {
            return Err(Rejected::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
            return Err(Rejected::NotYetValid);
        }
        if let Some(issuer) = &self.issuer
            && claims.iss.as_str() != Some(issuer)
        {
            return Err(Rejected::Issuer);
        }
        if let Some(audience) = &self.audience
            && !names(&claims.aud, audience)
        {
            return Err(Rejected::Audience);
        }
        if claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT || claims.sub.chars().any(char::is_control) {
            return Err(Rejected::Claim);
        }
        let devices = claims.device_id.map(|devices| match devices {
            OneOrMany::One(device) => vec![device],
            OneOrMany::Many(devices) => devices,
        });
        Ok(Caller { subject: claims.sub, roles: claims.roles, devices })
    }
}

/// Whether an `aud` (a string, or a list of nothing but strings) names this one.
fn names(aud: &serde_json::Value, audience: &str) -> bool {
    match aud {
        serde_json::Value::String(one) => one == audience,
        serde_json::Value::Array(many) => {
            many.iter().all(serde_json::Value::is_string) && many.iter().any(|one| one == audience)
        }
        _ => false,
    }
}

fn rejected(token: &str, error: &jsonwebtoken::errors::Error) -> Rejected {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => Rejected::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::MissingAlgorithm => {
            Rejected::Algorithm
        }
        // Whether it was the header or the claims: the signature is checked in between.
        ErrorKind::Json(_) if decode_header(token).is_ok() => Rejected::Claim,
        _ => Rejected::Malformed,
    }
}

#[cfg(test)]
mod tests;
