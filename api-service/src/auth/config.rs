//! Which tokens are valid.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::builder::PathBufValueParser;
use clap::{ArgAction, Args, value_parser};
use shared::runtime::config::{Secret, duration_in, text, trimmed, yes_or_no};

/// The shortest key that RFC 7518 allows for HS256.
const MIN_SECRET: usize = 32;
const REFRESH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Which tokens are good. At least one source of keys must be configured.
#[derive(Debug, Clone, Args)]
pub struct JwtConfig {
    /// The key of HS256 tokens: at least 32 bytes, unless `JWT_ALLOW_SHORT_SECRET` is set. Without it all HS256 tokens
    /// are refused.
    #[arg(long, env, hide_env_values = true)]
    pub jwt_secret: Option<Secret>,
    /// Accepts a `JWT_SECRET` of under 32 bytes, which can be guessed from a token: for development only.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_parser = yes_or_no())]
    pub jwt_allow_short_secret: bool,
    /// The URL of the keys of RS256, ES256 and EdDSA tokens (a JWKS): https, or http on this machine.
    #[arg(long, env, hide_env_values = true, value_parser = trimmed(value_parser!(Secret)))]
    pub jwt_jwks_url: Option<Secret>,
    /// The same keys as a file, which is read again when it changes.
    #[arg(long, env, value_parser = trimmed(PathBufValueParser::new()))]
    pub jwt_jwks_file: Option<PathBuf>,
    /// How often `JWT_JWKS_URL` is fetched, from 1s to 1day. An unknown key causes a fetch at once, at most every 30 s.
    #[arg(long, env, default_value = "10min", value_parser = duration_in(REFRESH))]
    pub jwt_jwks_refresh: Duration,
    /// Accepts an http `JWT_JWKS_URL` of another machine: only on a network where nobody can change the answer.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_parser = yes_or_no())]
    pub jwt_jwks_allow_http: bool,
    /// The `iss` that a token must have. Not checked if this is not set.
    #[arg(long, env, value_parser = text())]
    pub jwt_issuer: Option<String>,
    /// The `aud` that a token must have. Not checked if this is not set.
    #[arg(long, env, value_parser = text())]
    pub jwt_audience: Option<String>,
}

impl JwtConfig {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (url, file) = (self.jwt_jwks_url.is_some(), self.jwt_jwks_file.is_some());
        ensure!(
            self.jwt_secret.is_some() || url || file,
            "set JWT_SECRET, JWT_JWKS_URL or JWT_JWKS_FILE: without a key no token can be verified"
        );
        ensure!(!(url && file), "JWT_JWKS_URL and JWT_JWKS_FILE: set one of them, not both");
        let length = self.jwt_secret.as_ref().map_or(MIN_SECRET, |secret| secret.expose().len());
        ensure!(
            length >= MIN_SECRET || self.jwt_allow_short_secret,
            "JWT_SECRET must have at least {MIN_SECRET} bytes, as HS256 requires; for development only, \
             JWT_ALLOW_SHORT_SECRET=true accepts a shorter one"
        );
        Ok(())
    }

    /// Warns of settings that are unsafe wherever tokens protect anything. To be called at the start.
    pub fn warn(&self) {
        if self.jwt_allow_short_secret {
            tracing::warn!(
                "JWT_ALLOW_SHORT_SECRET is set, which is for development only: anyone who has a token can guess a \
                 short JWT_SECRET, and make tokens of any role with it"
            );
        }
    }
}
