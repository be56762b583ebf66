//! Whether a token is valid, and its claims. Pure: no I/O, no clock of its own.

use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::claims::Claims;
use super::config::JwtConfig;
use super::keys::Keys;
use super::rejected::{Rejected, Wrong};

pub(super) const MAX_TOKEN: usize = 8 * 1024;
/// The longest subject: it is stored in a Kafka header and in a column of PostgreSQL.
const MAX_SUBJECT: usize = 256;
const SUBJECT: &str = "a string of 1 to 256 bytes without control characters";
const TIME: &str = "a number of seconds since 1970";
const ONE_OR_MANY: &str = "a string or a list of strings";
/// The tolerated difference between clocks, in seconds.
const LEEWAY: f64 = 30.0;

/// The caller that a valid token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    pub roles: Vec<String>,
    /// The claims of the token that bind it to resources of a domain, by name.
    pub bound: Bound,
}

type Bound = Vec<(&'static str, Vec<String>)>;

impl Caller {
    pub fn has_any(&self, roles: &[&str]) -> bool {
        self.roles.iter().any(|role| roles.contains(&role.as_str()))
    }

    /// The ids that a claim binds the token to; `None` if the token does not have the claim.
    pub fn bound_to(&self, claim: &str) -> Option<&[String]> {
        self.bound.iter().find(|(name, _)| *name == claim).map(|(_, ids)| &**ids)
    }
}

/// The caller of a valid token, and its expiry.
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
    /// All claims that are read.
    names: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Verifier {
    /// Also reads the claims `binding`: each binds a token to resources, and is a string or a list of strings.
    pub fn new(config: &JwtConfig, binding: &[&'static str]) -> Self {
        let names = [&["sub", "exp", "nbf", "iss", "aud", "roles"][..], binding].concat();
        let (issuer, audience) = (config.jwt_issuer.clone(), config.jwt_audience.clone());
        Self { issuer, audience, binding: binding.to_vec(), names }
    }

    /// The caller of a token at `now`, in seconds since the Unix epoch.
    ///
    /// Only `alg`, `kid` and `crit` of the token's header are used; keys that it contains or refers to (`jwk`, `jku`,
    /// `x5c`, `x5u`) are ignored.
    pub fn verify(&self, token: &str, now: u64, keys: &Keys) -> Result<Verified, Rejected> {
        if token.len() > MAX_TOKEN {
            return Err(Rejected::Malformed);
        }
        let header = decode_header(token).map_err(|_| Rejected::Malformed)?;
        // RFC 7515, section 4.1.11: a critical header parameter that is not understood makes a token invalid.
        if header.crit.is_some() {
            return Err(Rejected::Malformed);
        }
        let key = keys.select(header.alg, header.kid.as_deref())?;
        // As text first: RFC 7519, section 7.2, requires UTF-8 in ignored claims, too.
        match decode::<Box<RawValue>>(token, key, &signature_only(header.alg)) {
            Ok(text) => self.check(&Claims::read(text.claims.get(), &self.names)?, now),
            // The header was parsed before. So the error is in the claims, and the signature is valid.
            Err(error) if matches!(error.kind(), ErrorKind::Json(_)) => Err(self.fault(token, now)),
            Err(error) => Err(rejected(&error)),
        }
    }

    /// What is wrong with claims that the library cannot parse: its error names none.
    fn fault(&self, token: &str, now: u64) -> Rejected {
        let Ok(text) = insecure_decode_claims::<Box<RawValue>>(token) else { return Rejected::Claims };
        let read = Claims::read(text.get(), &self.names).and_then(|claims| self.check(&claims, now));
        read.err().unwrap_or(Rejected::Claims)
    }

    fn check(&self, claims: &Claims<'_>, now: u64) -> Result<Verified, Rejected> {
        let subject: String = claims.required("sub", SUBJECT)?;
        let exp: f64 = claims.required("exp", TIME)?;
        let nbf: f64 = claims.optional("nbf", TIME)?.unwrap_or_default();
        let iss: Value = claims.optional("iss", "a string")?.unwrap_or_default();
        let aud: Value = claims.optional("aud", ONE_OR_MANY)?.unwrap_or_default();
        let roles: Vec<String> = claims.optional("roles", "a list of strings")?.unwrap_or_default();
        let mut bound = Vec::new();
        for &name in &self.binding {
            match claims.optional(name, ONE_OR_MANY)? {
                Some(OneOrMany::One(id)) => bound.push((name, vec![id])),
                Some(OneOrMany::Many(ids)) => bound.push((name, ids)),
                None => {}
            }
        }
        // Unix seconds of today are far below 2^53.
        let now = now as f64;
        if exp + LEEWAY <= now {
            return Err(Rejected::Expired);
        }
        if nbf > now + LEEWAY {
            return Err(Rejected::NotYetValid);
        }
        if let Some(issuer) = &self.issuer
            && iss.as_str() != Some(issuer)
        {
            return Err(Rejected::Issuer(issuer.clone()));
        }
        if let Some(audience) = &self.audience
            && !names(&aud, audience)
        {
            return Err(Rejected::Audience(audience.clone()));
        }
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(Rejected::Claim("sub", Wrong::Not(SUBJECT)));
        }
        // `as` limits values that are out of range.
        let expires = exp as u64;
        let caller = Arc::new(Caller { subject, roles, bound });
        Ok(Verified { caller, expires })
    }
}

/// Whether an `aud` (a string, or a list of strings only) contains this audience.
fn names(aud: &Value, audience: &str) -> bool {
    match aud {
        Value::String(one) => one == audience,
        Value::Array(many) => many.iter().all(Value::is_string) && many.iter().any(|one| one == audience),
        _ => false,
    }
}

/// The library checks only the algorithm and the signature: its checks of claims read the system's clock, and ignore
/// claims that are absent or of another type.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn rejected(error: &jsonwebtoken::errors::Error) -> Rejected {
    match error.kind() {
        ErrorKind::InvalidSignature => Rejected::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::MissingAlgorithm => {
            Rejected::Algorithm
        }
        _ => Rejected::Malformed,
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod malformed;
#[cfg(test)]
pub(super) mod tests;
