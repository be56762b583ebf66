//! Whether a token is valid, and its claims. Pure: no I/O, no clock of its own.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::Value;

use super::claim_path::ClaimPaths;
use super::claims::{Claims, OneOrMany};
use super::config::ClaimsConfig;
use super::jws::Jws;
use super::keys::Keys;
use super::rejected::{Rejected, Wrong};

/// The longest subject: it is stored in a Kafka header and in a column of PostgreSQL.
const MAX_SUBJECT: usize = 256;
const SUBJECT: &str = "a string of 1 to 256 bytes without control characters";
const TIME: &str = "a number of seconds since 1970";
/// The tolerated difference between clocks, in seconds.
const LEEWAY: f64 = 30.0;

/// The subject of callers without a token. A token may have the same: only `is_anonymous` tells them apart.
const ANONYMOUS: &str = "anonymous";

/// The caller that a valid token identifies, or, where a domain lets them, all callers without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    /// Whether there is no token.
    pub is_anonymous: bool,
    /// The roles of this service that the token gives.
    pub roles: Vec<String>,
    /// The claims of the token that bind it to resources of a domain, by their names in that domain.
    pub bound: Bound,
}

type Bound = Vec<(&'static str, Vec<String>)>;

impl Caller {
    /// The caller without a token, with these roles.
    pub fn anonymous(roles: Vec<String>) -> Self {
        Self { subject: ANONYMOUS.to_owned(), is_anonymous: true, roles, bound: Vec::new() }
    }

    /// The name under which its rates and its memory are counted. All callers without a token share the empty one,
    /// which no token's subject is.
    pub fn quota(&self) -> &str {
        if self.is_anonymous { "" } else { &self.subject }
    }

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

/// What the domains read of tokens.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Their roles. A caller has no others.
    pub roles: Vec<&'static str>,
    /// Claims that bind a token to resources: the name in the domain, and the places in the token.
    pub bindings: Vec<(&'static str, ClaimPaths)>,
}

pub struct Verifier {
    config: ClaimsConfig,
    audience_claim: ClaimPaths,
    declared: Declared,
}

impl Verifier {
    /// Checks what `config` requires, and reads what the domains declare. An error if `JWT_ROLES_MAP` has a role that
    /// no domain declares.
    pub fn new(config: &ClaimsConfig, declared: Declared) -> anyhow::Result<Self> {
        for mapping in config.jwt_roles_map.iter().flat_map(|map| map.iter()) {
            let known = declared.roles.join(", ");
            ensure!(
                declared.roles.contains(&&*mapping.ours),
                "JWT_ROLES_MAP: unknown role {:?} for {:?}; known: {known}",
                mapping.ours,
                mapping.theirs
            );
        }
        Ok(Self { config: config.clone(), audience_claim: config.audience_claim(), declared })
    }

    /// The caller of a token at `now`, in seconds since the Unix epoch.
    pub fn verify(&self, token: &str, now: u64, keys: &Keys) -> Result<Verified, Rejected> {
        let jws = Jws::read(token)?;
        let text = jws.verified(keys.select(jws.algorithm, jws.kid.as_deref())?)?;
        self.check(&Claims::read(&text)?, now)
    }

    fn check(&self, claims: &Claims<'_>, now: u64) -> Result<Verified, Rejected> {
        let config = &self.config;
        let missing = |name: String| Rejected::Claim(name.into(), Wrong::Missing);
        let subject = &config.jwt_subject_claim;
        let name = || subject.to_string();
        let subject: String = claims.first(subject, SUBJECT)?.ok_or_else(|| missing(name()))?;
        let exp: f64 = claims.named("exp", TIME)?.ok_or_else(|| missing("exp".into()))?;
        let nbf: f64 = claims.named("nbf", TIME)?.unwrap_or_default();
        let roles = self.roles(claims)?;
        let bound = self.bound(claims)?;
        // Unix seconds of today are far below 2^53.
        let now = now as f64;
        if exp + LEEWAY <= now {
            return Err(Rejected::Expired);
        }
        if nbf > now + LEEWAY {
            return Err(Rejected::NotYetValid);
        }
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        for required in config.jwt_required_claims.iter().flat_map(|all| all.iter()) {
            let name = required.path.to_string();
            match claims.equals(&required.path, &required.value)? {
                Some(true) => {}
                Some(false) => return Err(Rejected::Claim(name.into(), Wrong::Not(required.value.clone().into()))),
                None => return Err(missing(name)),
            }
        }
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(Rejected::Claim(name().into(), Wrong::Not(SUBJECT.into())));
        }
        // `as` limits values that are out of range.
        let expires = exp as u64;
        let caller = Arc::new(Caller { subject, is_anonymous: false, roles, bound });
        Ok(Verified { caller, expires })
    }

    /// The declared roles that the token gives. A string may be several names with blanks between them, as the `scope`
    /// of OAuth 2.0 is; an item of a list is one.
    fn roles(&self, claims: &Claims<'_>) -> Result<Vec<String>, Rejected> {
        let mut roles = Vec::new();
        for found in claims.strings(&self.config.jwt_roles_claim)? {
            match found {
                OneOrMany::One(text) => text.split_ascii_whitespace().for_each(|role| self.add(&mut roles, role)),
                OneOrMany::Many(all) => all.iter().for_each(|role| self.add(&mut roles, role)),
            }
        }
        Ok(roles)
    }

    /// Adds what a role of the issuer stands for. With a map, a role that it does not have stands for nothing.
    fn add(&self, roles: &mut Vec<String>, theirs: &str) {
        let mut add = |ours: &str| {
            if self.declared.roles.contains(&ours) && !roles.iter().any(|role| role == ours) {
                roles.push(ours.to_owned());
            }
        };
        match &self.config.jwt_roles_map {
            None => add(theirs),
            Some(map) => map.iter().filter(|mapping| mapping.theirs == theirs).for_each(|mapping| add(&mapping.ours)),
        }
    }

    /// The ids of each declared claim that the token has. A string is one id, blanks included.
    fn bound(&self, claims: &Claims<'_>) -> Result<Bound, Rejected> {
        let mut bound = Vec::new();
        for (name, paths) in &self.declared.bindings {
            let found = claims.strings(paths)?;
            if !found.is_empty() {
                let ids = found.into_iter().flat_map(|found| match found {
                    OneOrMany::One(id) => vec![id],
                    OneOrMany::Many(ids) => ids,
                });
                bound.push((*name, ids.collect()));
            }
        }
        Ok(bound)
    }

    fn check_issuer(&self, claims: &Claims<'_>) -> Result<(), Rejected> {
        // Any type, so that a wrong one is a wrong issuer. Read in any case: it must not be there twice.
        let found: Option<Value> = claims.named("iss", "a string")?;
        match &self.config.jwt_issuer {
            Some(issuer) if found.as_ref().and_then(Value::as_str) != Some(issuer.as_str()) => {
                Err(Rejected::Issuer(issuer.clone()))
            }
            _ => Ok(()),
        }
    }

    fn check_audience(&self, claims: &Claims<'_>) -> Result<(), Rejected> {
        let Some(accepted) = &self.config.jwt_audience else { return Ok(()) };
        let places = &self.audience_claim;
        for place in places.iter() {
            for audience in accepted.iter() {
                if claims.equals(place, audience)? == Some(true) {
                    return Ok(());
                }
            }
        }
        Err(Rejected::Audience(places.to_string(), accepted.to_string()))
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod places;
#[cfg(test)]
pub(super) mod tests;
