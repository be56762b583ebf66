//! What `devstack token` signs with.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use devstack::token::Signer;

/// What a JWKS has keys for.
pub(crate) const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// A secret, or a key.
#[derive(Args)]
pub(crate) struct With {
    /// The secret of HS256.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Another algorithm than HS256: with a key.
    #[arg(long, requires = "key", value_parser = ALGORITHMS)]
    algorithm: Option<String>,
    /// Its private key (PKCS #8 in PEM), see `devstack keys`.
    #[arg(long, requires = "algorithm")]
    key: Option<PathBuf>,
    /// The key's name in the JWKS.
    #[arg(long, requires = "key")]
    kid: Option<String>,
}

impl With {
    pub(crate) fn signer(&self) -> anyhow::Result<Signer> {
        match (&self.algorithm, &self.key) {
            (Some(algorithm), Some(key)) => Signer::file(algorithm, key, self.kid.as_deref()),
            _ => {
                Ok(Signer::secret(self.secret.as_deref().context("--secret, or JWT_SECRET, or --algorithm and --key")?))
            }
        }
    }
}
