//! Tokens for the API, and keys to sign them.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, ensure};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header, crypto};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

#[derive(Serialize)]
pub struct Claims<'a> {
    sub: &'a str,
    roles: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<&'a str>,
    /// Not valid before this time, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Issued at this time, likewise.
    pub iat: u64,
    /// Expires at this time, likewise.
    pub exp: u64,
}

impl<'a> Claims<'a> {
    /// The claims of a token that is valid from now on. With devices it has `device_id`: a string for one
    /// device, a list for several.
    pub fn new(sub: &'a str, roles: &'a [&'a str], devices: &'a [&'a str], lifetime: Duration) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let device_id = match devices {
            [] => None,
            [one] => Some(json!(one)),
            many => Some(json!(many)),
        };
        let (iat, exp) = (now.as_secs(), now.saturating_add(lifetime).as_secs());
        Ok(Self { sub, roles, device_id, iss: None, aud: None, nbf: None, iat, exp })
    }
}

pub struct Signer {
    algorithm: Algorithm,
    kid: Option<String>,
    key: EncodingKey,
}

impl Signer {
    /// HS256.
    pub fn secret(secret: &str) -> Signer {
        Signer { algorithm: Algorithm::HS256, kid: None, key: EncodingKey::from_secret(secret.as_bytes()) }
    }

    #[must_use]
    pub fn named(self, kid: &str) -> Signer {
        Signer { kid: Some(kid.to_owned()), ..self }
    }

    /// HS256, HS384 or HS512, in any case.
    pub fn hmac(algorithm: &str, secret: &str) -> anyhow::Result<Signer> {
        let named = algorithm.trim().to_uppercase().parse().ok();
        let named = named.filter(|named: &Algorithm| named.family() == AlgorithmFamily::Hmac);
        let algorithm = named.with_context(|| format!("{algorithm} is none of HS256, HS384 and HS512"))?;
        Ok(Signer { algorithm, ..Signer::secret(secret) })
    }

    /// An algorithm of JWT but HMAC, with a private key (PKCS #8 in DER); `kid` names it.
    pub fn private(algorithm: &str, der: &[u8], kid: Option<&str>) -> anyhow::Result<Signer> {
        let algorithm = asymmetric(algorithm)?;
        let key = match algorithm.family() {
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_der(inner(der).context("no private key")?),
            AlgorithmFamily::Ec => EncodingKey::from_ec_der(der),
            _ => EncodingKey::from_ed_der(der),
        };
        Ok(Signer { algorithm, kid: kid.map(ToOwned::to_owned), key })
    }

    /// The same with a private key in a file (PKCS #8 in PEM).
    pub fn file(algorithm: &str, file: &Path, kid: Option<&str>) -> anyhow::Result<Signer> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let inside = text.trim().strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
        let inside: String =
            inside.with_context(|| format!("{}: no {BEGIN}", file.display()))?.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(inside).with_context(|| format!("{}: no PEM", file.display()))?;
        Signer::private(algorithm, &der, kid)
    }

    /// A signer with a new key, and the key as PKCS #8 in DER.
    pub fn generate(algorithm: &str, kid: Option<&str>) -> anyhow::Result<(Signer, Vec<u8>)> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("cannot make a key");
        let der = match asymmetric(algorithm)? {
            rsa if rsa.family() == AlgorithmFamily::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
            ec @ (Algorithm::ES256 | Algorithm::ES384) => {
                let is_256 = ec == Algorithm::ES256;
                let curve = if is_256 { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
                EcdsaKeyPair::generate_pkcs8(curve, &random).map_err(failed)?.as_ref().to_vec()
            }
            // Version 1, without the public key: the JWK helpers do not support version 2.
            _ => Ed25519KeyPair::generate_pkcs8v1(&random).map_err(failed)?.as_ref().to_vec(),
        };
        Ok((Signer::private(algorithm, &der, kid)?, der))
    }

    pub fn public(&self) -> anyhow::Result<Jwk> {
        ensure!(self.algorithm.family() != AlgorithmFamily::Hmac, "a secret is not published");
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).context("no key of this algorithm")?;
        jwk.common.key_id.clone_from(&self.kid);
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(jwk)
    }

    /// A JWT with the claims of [`Claims::new`].
    pub fn token(&self, subject: &str, roles: &[&str], devices: &[&str], lifetime: Duration) -> anyhow::Result<String> {
        self.sign(&Claims::new(subject, roles, devices, lifetime)?)
    }

    pub fn sign(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.kid);
        self.sign_with(&header, claims)
    }

    /// A JWT with exactly this header, whatever it says.
    pub fn sign_with(&self, header: &impl Serialize, claims: &impl Serialize) -> anyhow::Result<String> {
        let (header, claims) = (serde_json::to_vec(header)?, serde_json::to_vec(claims)?);
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).context("cannot sign the token")?;
        Ok(format!("{message}.{signature}"))
    }
}

/// The first audience of `JWT_AUDIENCE`, which may have several.
pub fn first_audience(all: &str) -> &str {
    all.split(',').next().unwrap_or_default().trim()
}

/// The algorithm with this name, which signs with a private key.
fn asymmetric(name: &str) -> anyhow::Result<Algorithm> {
    let algorithm = name.parse::<Algorithm>().ok().filter(|found| found.family() != AlgorithmFamily::Hmac);
    algorithm.with_context(|| format!("{name} is no algorithm of a private key"))
}

/// A forged token: the same claims without a signature (`alg` is `none`).
pub fn unsigned(token: &str) -> Option<String> {
    let (message, _) = token.rsplit_once('.')?;
    let (_, claims) = message.split_once('.')?;
    Some(format!("{}.{claims}.", BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#)))
}

/// A forged token: the same claims with another signature of the same length.
pub fn tampered(token: &str) -> Option<String> {
    let (message, signature) = token.rsplit_once('.')?;
    let rest = signature.get(1..)?;
    Some(format!("{message}.{}{rest}", if signature.starts_with('A') { 'B' } else { 'A' }))
}

pub fn jwks(signers: &[&Signer]) -> anyhow::Result<String> {
    let keys = signers.iter().map(|signer| signer.public()).collect::<anyhow::Result<_>>()?;
    serde_json::to_string_pretty(&JwkSet { keys }).context("cannot write the JWKS")
}

/// The key inside PKCS #8, after version and algorithm; for RSA it is PKCS #1.
fn inner(der: &[u8]) -> Option<&[u8]> {
    let (whole, _) = element(der)?;
    let (_version, rest) = element(whole)?;
    let (_algorithm, rest) = element(rest)?;
    element(rest).map(|(key, _)| key)
}

/// The contents of the first element of some DER, and the rest.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (long, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (long.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

/// Creates a key pair. The private key goes to a new file as PKCS #8 in PEM, readable only by its owner. The
/// public key is added to a JWKS, which is created if it does not exist.
///
/// # Errors
/// A file cannot be written, or the JWKS already has a key of this name; then neither file is changed.
pub fn generate(algorithm: &str, kid: &str, private: &Path, published: &Path) -> anyhow::Result<()> {
    let (signer, der) = Signer::generate(algorithm, Some(kid))?;
    let jwks = with_key(published, kid, &signer.public()?)?;
    // First the step that can be undone: a draft beside the JWKS, which proves that the JWKS can be replaced.
    let not_written = |file: &Path| format!("cannot write {}", file.display());
    let (draft, file) = draft(published, jwks.as_bytes()).with_context(|| not_written(published))?;
    create(private, 0o600, pem(&der).as_bytes()).with_context(|| not_written(private))?;
    draft.persist(&file).map(drop).with_context(|| not_written(&file)).inspect_err(|_| {
        let _ = fs::remove_file(private);
    })
}

/// The JWKS of this file, or an empty one, with this key added.
fn with_key(file: &Path, kid: &str, key: &Jwk) -> anyhow::Result<String> {
    let mut whole = match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => json!({"keys": []}),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    // Edit the plain JSON, so that unknown members of other keys are kept.
    let keys = whole.get_mut("keys").and_then(Value::as_array_mut);
    let keys = keys.with_context(|| format!("{} is not a JWKS: it has no array `keys`", file.display()))?;
    let is_there = keys.iter().any(|key| key.get("kid").and_then(Value::as_str) == Some(kid));
    ensure!(!is_there, "{} has a key `{kid}`: --kid gives the new one another name", file.display());
    keys.push(serde_json::to_value(key)?);
    serde_json::to_string_pretty(&whole).context("cannot write the JWKS")
}

/// A temporary file with the new contents, beside the file that it will replace, and that file's real path (symbolic
/// links resolved).
fn draft(file: &Path, bytes: &[u8]) -> anyhow::Result<(NamedTempFile, PathBuf)> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let mode = fs::metadata(&file).map_or(0o644, |old| old.permissions().mode() & 0o777);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(folder)?;
    draft.write_all(bytes)?;
    Ok((draft, file))
}

/// Creates a new file with these contents; removes it again if the write fails.
fn create(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line)));
    format!("{BEGIN}\n{}{END}\n", lines.collect::<String>())
}

/// A JWT signed with HS256; see [`Signer::token`].
pub fn hs256(
    secret: &str,
    subject: &str,
    roles: &[&str],
    devices: &[&str],
    lifetime: Duration,
) -> anyhow::Result<String> {
    Signer::secret(secret).token(subject, roles, devices, lifetime)
}
