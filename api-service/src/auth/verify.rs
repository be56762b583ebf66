//! Whether a token is good, and what it says. Pure: no I/O, no clock of its own.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::config::JwtConfig;
use super::keys::Keys;
use super::rejected::Rejected;
use crate::http::members::Members;

pub(super) const MAX_TOKEN: usize = 8 * 1024;
/// The longest subject: it goes into a header of Kafka and a column of PostgreSQL.
const MAX_SUBJECT: usize = 256;
/// How far clocks may be apart, in seconds.
const LEEWAY: f64 = 30.0;

/// Whom a good token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    pub roles: Vec<String>,
    /// The claims that bind the token to things of a domain, by name, where it has them.
    pub bound: Bound,
}

type Bound = Vec<(&'static str, Vec<String>)>;

impl Caller {
    pub fn has_any(&self, roles: &[&str]) -> bool {
        self.roles.iter().any(|role| roles.contains(&role.as_str()))
    }

    /// What a claim binds the token to; none where the token does not have the claim.
    pub fn bound_to(&self, claim: &str) -> Option<&[String]> {
        self.bound.iter().find(|(name, _)| *name == claim).map(|(_, ids)| &**ids)
    }
}

/// What a good token says, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub caller: Arc<Caller>,
    /// `exp`, in whole seconds.
    pub expires: u64,
}

pub struct Verifier {
    issuer: Option<String>,
    audience: Option<String>,
    binding: Vec<&'static str>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: f64,
    #[serde(default)]
    iss: serde_json::Value,
    #[serde(default)]
    aud: serde_json::Value,
    #[serde(default)]
    roles: Vec<String>,
}

impl Verifier {
    /// One that looks for these claims besides, each of which binds a token to things: a string, or a list of them.
    pub fn new(config: &JwtConfig, binding: &[&'static str]) -> Self {
        Self { issuer: config.jwt_issuer.clone(), audience: config.jwt_audience.clone(), binding: binding.to_vec() }
    }

    /// The caller that a token speaks for, at a time in seconds since the Unix epoch.
    ///
    /// Of the token's header only `alg`, `kid` and `crit` are looked at: keys that it brings along
    /// or points to (`jwk`, `jku`, `x5c`, `x5u`) count for nothing.
    pub fn verify(&self, token: &str, now: u64, keys: &Keys) -> Result<Verified, Rejected> {
        if token.len() > MAX_TOKEN {
            return Err(Rejected::Malformed);
        }
        let header = decode_header(token).map_err(|_| Rejected::Malformed)?;
        // RFC 7515, section 4.1.11: what is critical and not understood makes a token invalid.
        if header.crit.is_some() {
            return Err(Rejected::Malformed);
        }
        let key = keys.select(header.alg, header.kid.as_deref())?;
        // As text first: RFC 7519, section 7.2, wants UTF-8 in claims that nobody looks at, too.
        let text =
            decode::<Box<RawValue>>(token, key, &signature_only(header.alg)).map_err(|error| rejected(&error))?;
        let claims: Claims = serde_json::from_str(text.claims.get()).map_err(|_| Rejected::Claim)?;
        let bound = self.bound(text.claims.get())?;
        self.check(claims, bound, now)
    }

    /// What the token is bound to, by claim.
    fn bound(&self, claims: &str) -> Result<Bound, Rejected> {
        let members: Members<'_> = serde_json::from_str(claims).map_err(|_| Rejected::Claim)?;
        let mut bound = Vec::new();
        for name in &self.binding {
            let value = match members.named(name)[..] {
                [] => continue,
                [value] => value.get(),
                _ => return Err(Rejected::Claim),
            };
            let one = serde_json::from_str(value).map(|id: String| vec![id]);
            let ids = one.or_else(|_| serde_json::from_str(value)).map_err(|_| Rejected::Claim)?;
            bound.push((*name, ids));
        }
        Ok(bound)
    }

    fn check(&self, claims: Claims, bound: Bound, now: u64) -> Result<Verified, Rejected> {
        // Seconds of this era are far below 2^53.
        let now = now as f64;
        if claims.exp + LEEWAY <= now {
            return Err(Rejected::Expired);
        }
        if claims.nbf > now + LEEWAY {
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
        // What is out of range is cut to it.
        let expires = claims.exp as u64;
        let caller = Arc::new(Caller { subject: claims.sub, roles: claims.roles, bound });
        Ok(Verified { caller, expires })
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

/// The library is asked for the algorithm and the signature alone: its own checks of claims read
/// the system's clock, and pass over claims that are absent or of another type.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn rejected(error: &jsonwebtoken::errors::Error) -> Rejected {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => Rejected::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::MissingAlgorithm => {
            Rejected::Algorithm
        }
        // The header was read before: these are the claims, and the signature fits.
        ErrorKind::Json(_) => Rejected::Claim,
        _ => Rejected::Malformed,
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod malformed;
#[cfg(test)]
pub(super) mod tests;
