//! The keys that verify tokens: a secret, published keys, or both. Pure.
//!
//! Reading a published key binds it to one algorithm, by its `kty` and `crv`; a token's `alg` only chooses among the
//! keys of that algorithm. So a public key is never used for HS256, and an `oct` key of a JWKS is ignored.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::rejected::Rejected;

/// The length of 32 bytes in base64url: a coordinate of P-256, a key of Ed25519.
const THIRTY_TWO_BYTES: usize = 43;

#[derive(Debug, Clone)]
pub struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent as Rsa, SecretOrDer};
        let material = match (self.key.kind(), other.key.kind()) {
            (SecretOrDer(one), SecretOrDer(two)) => one == two,
            (Rsa { n, e }, Rsa { n: n2, e: e2 }) => n == n2 && e == e2,
            _ => false,
        };
        material && self.algorithm == other.algorithm && self.kid == other.kid
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    /// No JWKS is configured.
    Never,
    NotYet,
    Known(Vec<Key>),
}

pub struct Keys {
    secret: Option<DecodingKey>,
    published: Published,
    /// Different for every set of keys: a token verified with one set has to be verified again with the next.
    pub generation: u64,
}

impl Keys {
    pub fn new(secret: Option<&str>, published: Published) -> Self {
        let secret = secret.map(|secret| DecodingKey::from_secret(secret.as_bytes()));
        Self { secret, published, generation: 0 }
    }

    /// The keys with these published ones; `None` if nothing changes.
    pub fn replaced(&self, keys: Vec<Key>) -> Option<Self> {
        let published = Published::Known(keys);
        (published != self.published).then(|| Self {
            secret: self.secret.clone(),
            published,
            generation: self.generation.wrapping_add(1),
        })
    }

    /// The number of published keys; 0 before the first read.
    pub fn published(&self) -> usize {
        self.names().count()
    }

    /// Whether there is any key: without one no token can be verified.
    pub fn any(&self) -> bool {
        self.secret.is_some() || self.published() > 0
    }

    /// The algorithm and `kid` of each published key.
    pub(super) fn names(&self) -> impl Iterator<Item = (Algorithm, Option<&str>)> {
        let keys = match &self.published {
            Published::Known(keys) => keys.as_slice(),
            Published::Never | Published::NotYet => &[],
        };
        keys.iter().map(|key| (key.algorithm, key.kid.as_deref()))
    }

    /// The one key that may have signed a token with this header.
    pub fn select(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&DecodingKey, Rejected> {
        match algorithm {
            // There is one secret, whatever the `kid`.
            Algorithm::HS256 => return self.secret.as_ref().ok_or(Rejected::Algorithm),
            Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA => {}
            _ => return Err(Rejected::Algorithm),
        }
        let keys = match &self.published {
            Published::Never => return Err(Rejected::Algorithm),
            Published::NotYet => return Err(Rejected::NoKeys),
            Published::Known(keys) => keys,
        };
        let mut fitting =
            keys.iter().filter(|key| key.algorithm == algorithm && (kid.is_none() || key.kid.as_deref() == kid));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(&one.key),
            (None, _) => Err(Rejected::UnknownKey),
            (Some(_), Some(_)) => Err(Rejected::AmbiguousKey),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or not `{"keys": [...]}`.
    #[error("it is not a JWKS")]
    Malformed,
    /// Treated as a mistake of the source, not as an order to trust no key.
    #[error("the JWKS has no usable key")]
    Empty,
}

#[derive(Debug)]
pub struct KeySet {
    pub keys: Vec<Key>,
    /// The `kid` of each ignored key, and the reason.
    pub passed_over: Vec<(Option<String>, &'static str)>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
}

/// Reads a JWKS (RFC 7517). Ignores keys that it cannot use, as section 5 requires.
pub fn parse(text: &[u8]) -> Result<KeySet, KeySetError> {
    let set: Set = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
    let mut found = KeySet { keys: Vec::new(), passed_over: Vec::new() };
    for value in set.keys {
        let kid = value.get("kid").and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
        match serde_json::from_value::<Jwk>(value).map_err(|_| "malformed").and_then(key) {
            Ok(key) if found.keys.contains(&key) => {}
            Ok(key) => found.keys.push(key),
            Err(why) => found.passed_over.push((kid, why)),
        }
    }
    if found.keys.is_empty() { Err(KeySetError::Empty) } else { Ok(found) }
}

fn key(jwk: Jwk) -> Result<Key, &'static str> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("its `use` is not `sig`");
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|one| one == "verify")) {
        return Err("its `key_ops` lacks `verify`");
    }
    let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (Algorithm::RS256, rsa(jwk.n.as_deref(), jwk.e.as_deref())?),
        ("EC", Some("P-256")) => (Algorithm::ES256, p256(jwk.x.as_deref(), jwk.y.as_deref())?),
        ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, ed25519(jwk.x.as_deref())?),
        ("oct", _) => return Err("a secret"),
        _ => return Err("its `kty` or `crv` is not supported"),
    };
    // A private key that is published is not secret any more.
    if jwk.d.is_some() {
        return Err("private");
    }
    match (algorithm, jwk.alg.as_deref()) {
        (_, None)
        | (Algorithm::RS256, Some("RS256"))
        | (Algorithm::ES256, Some("ES256"))
        | (Algorithm::EdDSA, Some("EdDSA" | "Ed25519")) => Ok(Key { kid: jwk.kid, algorithm, key }),
        _ => Err("its `alg` is not supported for its kind"),
    }
}

fn rsa(n: Option<&str>, e: Option<&str>) -> Result<DecodingKey, &'static str> {
    let (n, e) = n.zip(e).ok_or("malformed")?;
    let key = DecodingKey::from_rsa_components(n, e).map_err(|_| "malformed")?;
    let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind() else { return Err("malformed") };
    let significant: Vec<u8> = n.iter().copied().skip_while(|byte| *byte == 0).collect();
    let unused = significant.first().map_or(0, |byte| byte.leading_zeros());
    let bits = significant.len() * 8 - usize::try_from(unused).unwrap_or(0);
    // The upper bound is the library's, the lower one that of RFC 7518, section 3.3.
    if !(2048..=8192).contains(&bits) {
        return Err("not from 2048 to 8192 bits");
    }
    Ok(key)
}

fn p256(x: Option<&str>, y: Option<&str>) -> Result<DecodingKey, &'static str> {
    let (x, y) = x.zip(y).filter(|(x, y)| [x.len(), y.len()] == [THIRTY_TWO_BYTES; 2]).ok_or("malformed")?;
    on_curve(DecodingKey::from_ec_components(x, y), &ECDSA_P256_SHA256_FIXED)
}

fn ed25519(x: Option<&str>) -> Result<DecodingKey, &'static str> {
    let x = x.filter(|x| x.len() == THIRTY_TWO_BYTES).ok_or("malformed")?;
    on_curve(DecodingKey::from_ed_components(x), &ED25519)
}

fn on_curve(
    key: jsonwebtoken::errors::Result<DecodingKey>,
    curve: &'static dyn VerificationAlgorithm,
) -> Result<DecodingKey, &'static str> {
    let key = key.map_err(|_| "malformed")?;
    let point = key.try_get_as_bytes().map_err(|_| "malformed")?;
    ParsedPublicKey::new(curve, point).map_err(|_| "not a point of its curve")?;
    Ok(key)
}

#[cfg(test)]
mod tests;
