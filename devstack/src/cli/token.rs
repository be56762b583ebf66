//! `devstack token`: creates valid and invalid tokens for manual tests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use devstack::token::{Claims, Signer, first_audience, tampered, unsigned};

pub(crate) const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

const HOUR: u64 = 3600;

/// What it says, and how it is signed.
#[derive(Args)]
pub(crate) struct Token {
    /// Its claim `sub`.
    #[arg(long, default_value = "dev")]
    subject: String,
    /// Its claim `roles`: user, device, admin.
    #[arg(long, num_args = 1..)]
    role: Vec<String>,
    /// Its claim `device_id`.
    #[arg(long, num_args = 1..)]
    device: Vec<String>,
    /// Its claim `iss`.
    #[arg(long, env = "JWT_ISSUER")]
    issuer: Option<String>,
    /// Its claim `aud`; the first of several, separated by commas.
    #[arg(long, env = "JWT_AUDIENCE")]
    audience: Option<String>,
    /// How long it is good.
    #[arg(long, default_value = "12h", value_parser = humantime::parse_duration)]
    lifetime: Duration,
    /// It is good no sooner than that from now (`nbf`).
    #[arg(long, value_parser = humantime::parse_duration)]
    not_before: Option<Duration>,
    /// It was good until an hour ago.
    #[arg(long, conflicts_with = "lifetime")]
    expired: bool,
    /// It is not signed: its algorithm is `none`.
    #[arg(long)]
    unsigned: bool,
    /// Its signature does not fit.
    #[arg(long, conflicts_with = "unsigned")]
    tampered: bool,
    /// The secret that it is signed with.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// HS256, HS384 or HS512: with the secret.
    #[arg(long, env = "JWT_SECRET_ALGORITHM", default_value = "HS256")]
    secret_algorithm: String,
    /// Another algorithm: with a key.
    #[arg(long, requires = "key", value_parser = ALGORITHMS)]
    algorithm: Option<String>,
    /// Its private key (PKCS #8 in PEM), see `devstack keys`.
    #[arg(long, requires = "algorithm")]
    key: Option<PathBuf>,
    /// The key's name in the JWKS.
    #[arg(long)]
    kid: Option<String>,
}

impl Token {
    pub(crate) fn make(&self) -> anyhow::Result<String> {
        let roles: Vec<&str> = self.role.iter().map(String::as_str).collect();
        let devices: Vec<&str> = self.device.iter().map(String::as_str).collect();
        let mut claims = Claims::new(&self.subject, &roles, &devices, self.lifetime)?;
        (claims.iss, claims.aud) = (self.issuer.as_deref(), self.audience.as_deref().map(first_audience));
        claims.nbf = self.not_before.map(|after| claims.iat.saturating_add(after.as_secs()));
        if self.expired {
            (claims.iat, claims.exp) = (claims.iat.saturating_sub(2 * HOUR), claims.iat.saturating_sub(HOUR));
        }
        let token = self.signer()?.sign(&claims)?;
        let made = match (self.unsigned, self.tampered) {
            (true, _) => unsigned(&token),
            (_, true) => tampered(&token),
            _ => Some(token),
        };
        made.context("no token was made")
    }

    fn signer(&self) -> anyhow::Result<Signer> {
        let signer = match (&self.algorithm, &self.key, &self.secret) {
            (Some(algorithm), Some(key), _) => Signer::file(algorithm, key, None)?,
            (_, _, Some(secret)) => Signer::hmac(&self.secret_algorithm, secret)?,
            // Nothing is signed, so any signer will do.
            _ if self.unsigned => Signer::secret(""),
            _ => anyhow::bail!("--secret, or JWT_SECRET, or --algorithm and --key"),
        };
        Ok(match &self.kid {
            Some(kid) => signer.named(kid),
            None => signer,
        })
    }
}
