//! A token, taken apart: a JWS in compact form (RFC 7515, section 7.1). Pure.
//!
//! `jsonwebtoken` would refuse a header for the type of a parameter that counts for nothing here (`x5c`, `nonce`), so
//! it only checks the signature.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::rejected::{MAX_TOKEN, Rejected};

pub(super) struct Jws<'a> {
    pub(super) algorithm: Algorithm,
    /// Of a published key only: it counts for nothing in a token that is signed with a secret.
    pub(super) kid: Option<String>,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// The parameters that are used. All others are ignored, above all keys that the token contains or refers to (`jwk`,
/// `jku`, `x5c`, `x5u`).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<Value>,
    crit: Option<IgnoredAny>,
}

impl<'a> Jws<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, Rejected> {
        if token.len() > MAX_TOKEN {
            return Err(Rejected::TooLong(token.len()));
        }
        let no_jws = Rejected::Malformed("it does not have three parts with dots between them");
        let (message, signature) = token.rsplit_once('.').ok_or(no_jws.clone())?;
        let (header, payload) = message.split_once('.').ok_or(no_jws.clone())?;
        match payload.matches('.').count() {
            0 => {}
            2 => return Err(Rejected::Malformed("it has five parts, so it is encrypted, and must only be signed")),
            _ => return Err(no_jws),
        }
        let bad_header = Rejected::Malformed("its header is not a JSON object with an `alg`, in base64url");
        let header = BASE64_URL_SAFE_NO_PAD.decode(header).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // A list of the same values would be read, too.
        let header = header.filter(|text| text.trim_start().starts_with('{'));
        let header = header.and_then(|text| serde_json::from_str::<Header>(&text).ok());
        let Header { alg, kid, crit } = header.ok_or(bad_header)?;
        // RFC 7515, section 4.1.11: a critical header parameter that is not understood makes a token invalid.
        if crit.is_some() {
            return Err(Rejected::Malformed("its header has `crit`, and no critical parameter is supported"));
        }
        let algorithm = algorithm(&alg).ok_or(Rejected::Algorithm)?;
        let kid = match kid {
            _ if algorithm.family() == AlgorithmFamily::Hmac => None,
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Rejected::Malformed("the `kid` in its header is not a string")),
        };
        Ok(Self { algorithm, kid, message, payload, signature })
    }

    /// The claims as text, if the signature is by one of these keys.
    pub(super) fn verified(&self, keys: &[DecodingKey]) -> Result<String, Rejected> {
        let signed_by = |key| crypto::verify(self.signature, self.message.as_bytes(), key, self.algorithm);
        let mut is_valid = false;
        for key in keys {
            is_valid |= signed_by(key).map_err(|_| Rejected::Malformed("its signature is not base64url"))?;
        }
        if !is_valid {
            return Err(Rejected::Signature);
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(self.payload);
        let claims = claims.map_err(|_| Rejected::Malformed("its claims are not base64url"))?;
        // RFC 7519, section 7.2, requires UTF-8 in ignored claims, too.
        String::from_utf8(claims).map_err(|_| Rejected::Claims)
    }
}

/// The signature algorithm with this name. RFC 9864 has `Ed25519` for what was the only `EdDSA` in use.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { Algorithm::from_str(name).ok() }
}
