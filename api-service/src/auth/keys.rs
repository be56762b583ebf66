//! The keys that verify tokens: a secret, published keys, or both. Pure.
//!
//! Reading a published key binds it to its algorithms: the one that it names (`alg`), or those of its kind (`kty` and
//! `crv`). A token's `alg` only chooses among the keys of that algorithm. So a public key is never used for HMAC, and
//! an `oct` key of a JWKS is ignored.

use std::slice::from_ref;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::jws;
use super::rejected::Rejected;

/// The length of 32 bytes in base64url: a coordinate of P-256, a key of Ed25519.
const THIRTY_TWO_BYTES: usize = 43;
/// The same of 48 bytes: a coordinate of P-384.
const FORTY_EIGHT_BYTES: usize = 64;

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

#[derive(Debug, Clone)]
pub struct Key {
    kid: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

impl Key {
    fn has_material_of(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent as Rsa, SecretOrDer};
        match (self.key.kind(), other.key.kind()) {
            (SecretOrDer(one), SecretOrDer(two)) => one == two,
            (Rsa { n, e }, Rsa { n: n2, e: e2 }) => n == n2 && e == e2,
            _ => false,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.has_material_of(other) && self.algorithms == other.algorithms && self.kid == other.kid
    }
}

/// The secrets that tokens may be signed with, and their algorithm. None by default.
#[derive(Clone, Default)]
pub struct Secrets {
    algorithm: Algorithm,
    keys: Vec<DecodingKey>,
}

impl Secrets {
    pub fn new<'a>(algorithm: Algorithm, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = secrets.into_iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect();
        Self { algorithm, keys }
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
    secrets: Secrets,
    published: Published,
    /// Different for every set of keys: a token verified with one set has to be verified again with the next.
    pub generation: u64,
}

impl Keys {
    pub fn new(secrets: Secrets, published: Published) -> Self {
        Self { secrets, published, generation: 0 }
    }

    /// The keys with these published ones; `None` if nothing changes.
    pub fn replaced(&self, keys: Vec<Key>) -> Option<Self> {
        let published = Published::Known(keys);
        (published != self.published).then(|| Self {
            secrets: self.secrets.clone(),
            published,
            generation: self.generation.wrapping_add(1),
        })
    }

    /// The number of published keys; 0 before the first read.
    pub fn published(&self) -> usize {
        self.known().len()
    }

    /// Whether there is any key: without one no token can be verified.
    pub fn any(&self) -> bool {
        !self.secrets.keys.is_empty() || self.published() > 0
    }

    /// Each algorithm and `kid` that a published key is for.
    pub(super) fn names(&self) -> impl Iterator<Item = (Algorithm, Option<&str>)> {
        self.known().iter().flat_map(|key| key.algorithms.iter().map(|algorithm| (*algorithm, key.kid.as_deref())))
    }

    fn known(&self) -> &[Key] {
        match &self.published {
            Published::Known(keys) => keys,
            Published::Never | Published::NotYet => &[],
        }
    }

    /// The keys that may have signed a token with this header: the secret and the one before it, or one published key.
    pub fn select(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&[DecodingKey], Rejected> {
        if algorithm.family() == AlgorithmFamily::Hmac {
            // Whatever the `kid`.
            let Secrets { algorithm: only, keys } = &self.secrets;
            return if *only == algorithm && !keys.is_empty() { Ok(keys) } else { Err(Rejected::Algorithm) };
        }
        let keys = match &self.published {
            Published::Never => return Err(Rejected::Algorithm),
            Published::NotYet => return Err(Rejected::NoKeys),
            Published::Known(keys) => keys,
        };
        let mut fitting = keys
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid));
        let one = fitting.next().ok_or(Rejected::UnknownKey)?;
        // A key may be listed several times, under several names or with several values of `alg`.
        if fitting.all(|other| other.has_material_of(one)) {
            Ok(from_ref(&one.key))
        } else {
            Err(Rejected::AmbiguousKey)
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
    let point = |bytes, curve: &'static dyn VerificationAlgorithm| ec(jwk.x.as_deref(), jwk.y.as_deref(), bytes, curve);
    let (algorithms, key): (&'static [Algorithm], _) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (RSA, rsa(jwk.n.as_deref(), jwk.e.as_deref())?),
        ("EC", Some("P-256")) => (&[Algorithm::ES256], point(THIRTY_TWO_BYTES, &ECDSA_P256_SHA256_FIXED)?),
        ("EC", Some("P-384")) => (&[Algorithm::ES384], point(FORTY_EIGHT_BYTES, &ECDSA_P384_SHA384_FIXED)?),
        ("OKP", Some("Ed25519")) => (&[Algorithm::EdDSA], ed25519(jwk.x.as_deref())?),
        ("oct", _) => return Err("a secret"),
        _ => return Err("its `kty` or `crv` is not supported"),
    };
    // A private key that is published is not secret any more.
    if jwk.d.is_some() {
        return Err("private");
    }
    let algorithms = match jwk.alg {
        None => algorithms,
        Some(name) => {
            let named = jws::algorithm(&name);
            let found = algorithms.iter().find(|algorithm| Some(**algorithm) == named).map(from_ref);
            found.ok_or("its `alg` is not supported for its kind")?
        }
    };
    Ok(Key { kid: jwk.kid, algorithms, key })
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

fn ec(
    x: Option<&str>,
    y: Option<&str>,
    length: usize,
    curve: &'static dyn VerificationAlgorithm,
) -> Result<DecodingKey, &'static str> {
    let (x, y) = x.zip(y).filter(|(x, y)| [x.len(), y.len()] == [length; 2]).ok_or("malformed")?;
    on_curve(DecodingKey::from_ec_components(x, y), curve)
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
