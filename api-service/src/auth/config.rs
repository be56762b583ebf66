//! Which tokens are valid.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::builder::PathBufValueParser;
use clap::{ArgAction, Args, ValueEnum, value_parser};
use jsonwebtoken::Algorithm;
use shared::runtime::config::{Secret, duration_in, one_of, text, trimmed, yes_or_no};

use super::claim_path::{ClaimPath, ClaimPaths, List, RequiredClaim, RoleMapping};

const AUDIENCE: &str = "aud";
const SUBJECT: &str = "sub";
const ROLES: &str = "roles";
const REFRESH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Which tokens are good. At least one source of keys must be configured.
#[derive(Debug, Clone, Args)]
pub struct JwtConfig {
    /// The key of tokens that are signed with a secret: at least as long as the hash of `JWT_SECRET_ALGORITHM` (32, 48
    /// or 64 bytes), unless `JWT_ALLOW_SHORT_SECRET` is set. Without it all such tokens are refused.
    #[arg(long, env, hide_env_values = true)]
    pub jwt_secret: Option<Secret>,
    /// The `JWT_SECRET` of before, during a rotation: tokens that are signed with it are still accepted.
    #[arg(long, env, hide_env_values = true)]
    pub jwt_secret_previous: Option<Secret>,
    /// The algorithm of tokens that are signed with `JWT_SECRET`, and the only one.
    #[arg(long, env, default_value = "HS256", value_parser = one_of::<SecretAlgorithm>())]
    pub jwt_secret_algorithm: SecretAlgorithm,
    /// Accepts secrets that are shorter, and can be guessed from a token: for development only.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_parser = yes_or_no())]
    pub jwt_allow_short_secret: bool,
    /// The URL of the keys of tokens that are signed with RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or
    /// EdDSA (a JWKS): https, or http on this machine.
    #[arg(long, env, hide_env_values = true, value_parser = trimmed(value_parser!(Secret)))]
    pub jwt_jwks_url: Option<Secret>,
    /// The same keys as a file, which is read again when it changes.
    #[arg(long, env, value_parser = trimmed(PathBufValueParser::new()))]
    pub jwt_jwks_file: Option<PathBuf>,
    /// How often the keys are fetched, from 1s to 1day. An unknown key causes a fetch at once, at most every 30 s.
    #[arg(long, env, default_value = "10min", value_parser = duration_in(REFRESH))]
    pub jwt_jwks_refresh: Duration,
    /// Accepts http to another machine for `JWT_JWKS_URL` and `JWT_ISSUER`: only on a network where nobody can change
    /// the answer.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_parser = yes_or_no())]
    pub jwt_jwks_allow_http: bool,
    #[command(flatten)]
    pub claims: ClaimsConfig,
}

/// What a token must say, and where. A claim's place is a JSON pointer (`/realm_access/roles`), a dotted path
/// (`realm_access.roles`), or a name with a colon in it (`cognito:groups`).
#[derive(Debug, Clone, Args)]
pub struct ClaimsConfig {
    /// The `iss` that a token must have. Not checked if this is not set. If it is an https address, and neither
    /// `JWT_SECRET` nor a JWKS is set, the keys are those that its OpenID configuration names
    /// (`/.well-known/openid-configuration`).
    #[arg(long, env, value_parser = text())]
    pub jwt_issuer: Option<String>,
    /// The audiences that are accepted, separated by commas: a token must have one of them. Not checked if this is not
    /// set.
    #[arg(long, env, value_parser = List::<String>::parser())]
    pub jwt_audience: Option<List<String>>,
    /// The claims with the audience, separated by commas; needs `JWT_AUDIENCE`. Each is a JSON pointer (`/a/b`), a
    /// dotted path (`a.b`), or a name with a colon in it. If it is not set, it is `aud`.
    #[arg(long, env, value_parser = ClaimPaths::parser())]
    pub jwt_audience_claim: Option<ClaimPaths>,
    /// Other claims that a token must have, and their values, separated by commas: `token_use=access`.
    #[arg(long, env, value_parser = List::<RequiredClaim>::parser())]
    pub jwt_required_claims: Option<List<RequiredClaim>>,
    /// The claims with the subject, in the same form: the first that a token has counts.
    #[arg(long, env, default_value = SUBJECT, value_parser = ClaimPaths::parser())]
    pub jwt_subject_claim: ClaimPaths,
    /// The claims with the roles, likewise: those of all of them count. A string is split at blanks.
    #[arg(long, env, default_value = ROLES, value_parser = ClaimPaths::parser())]
    pub jwt_roles_claim: ClaimPaths,
    /// What the issuer's roles are here, separated by commas: `events-writer=device,Ops=admin`. Roles that it does not
    /// name count for nothing. If it is not set, the issuer's roles have the names of ours.
    #[arg(long, env, value_parser = List::<RoleMapping>::parser())]
    pub jwt_roles_map: Option<List<RoleMapping>>,
}

impl ClaimsConfig {
    /// The claims with the audience.
    pub(super) fn audience_claim(&self) -> ClaimPaths {
        self.jwt_audience_claim.clone().unwrap_or_else(|| List::one(ClaimPath::named(AUDIENCE)))
    }
}

impl Default for ClaimsConfig {
    fn default() -> Self {
        let [jwt_subject_claim, jwt_roles_claim] = [SUBJECT, ROLES].map(|name| List::one(ClaimPath::named(name)));
        Self {
            jwt_issuer: None,
            jwt_audience: None,
            jwt_audience_claim: None,
            jwt_required_claims: None,
            jwt_subject_claim,
            jwt_roles_claim,
            jwt_roles_map: None,
        }
    }
}

/// How tokens are signed with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SecretAlgorithm {
    #[value(name = "HS256")]
    Hs256,
    #[value(name = "HS384")]
    Hs384,
    #[value(name = "HS512")]
    Hs512,
}

impl SecretAlgorithm {
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
        }
    }

    /// The shortest key that RFC 7518, section 3.2, allows.
    fn min_secret(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }
}

impl JwtConfig {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (url, file) = (self.jwt_jwks_url.is_some(), self.jwt_jwks_file.is_some());
        ensure!(
            self.jwt_secret.is_some() || url || file || self.discovered().is_some(),
            "set JWT_SECRET, JWT_JWKS_URL or JWT_JWKS_FILE, or an https address as JWT_ISSUER: without a key no token \
             can be verified"
        );
        ensure!(!(url && file), "JWT_JWKS_URL and JWT_JWKS_FILE: set one of them, not both");
        ensure!(
            self.jwt_secret.is_some() || self.jwt_secret_previous.is_none(),
            "JWT_SECRET_PREVIOUS needs JWT_SECRET"
        );
        // Whoever says where the audience is takes it to be checked.
        ensure!(
            self.claims.jwt_audience.is_some() || self.claims.jwt_audience_claim.is_none(),
            "JWT_AUDIENCE_CLAIM is set, and JWT_AUDIENCE is not"
        );
        let least = self.jwt_secret_algorithm.min_secret();
        for (name, secret) in [("JWT_SECRET", &self.jwt_secret), ("JWT_SECRET_PREVIOUS", &self.jwt_secret_previous)] {
            ensure!(
                self.jwt_allow_short_secret || secret.as_ref().is_none_or(|secret| secret.expose().len() >= least),
                "{name} must have at least {least} bytes, as {:?} requires; for development only, \
                 JWT_ALLOW_SHORT_SECRET=true accepts a shorter one",
                self.jwt_secret_algorithm.algorithm()
            );
        }
        Ok(())
    }

    /// The issuer whose OpenID configuration names the keys: one with an address, if nothing else does.
    pub(super) fn discovered(&self) -> Option<&str> {
        let others = self.jwt_secret.is_some() || self.jwt_jwks_url.is_some() || self.jwt_jwks_file.is_some();
        let is_address = |issuer: &&str| issuer.starts_with("https://") || issuer.starts_with("http://");
        self.claims.jwt_issuer.as_deref().filter(is_address).filter(|_| !others)
    }

    /// Warns of settings that are unsafe wherever tokens protect anything. To be called at the start.
    pub fn warn(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
    }

    fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.jwt_allow_short_secret {
            warnings.push(
                "JWT_ALLOW_SHORT_SECRET is set, which is for development only: anyone who has a token can guess a \
                 short JWT_SECRET, and make tokens of any role with it",
            );
        }
        if self.discovered().is_some() && self.claims.jwt_audience.is_none() {
            warnings.push(
                "JWT_AUDIENCE is not set: a token that JWT_ISSUER made for any other service is accepted here, too",
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::config;
    use super::*;

    fn checked(change: impl FnOnce(&mut JwtConfig)) -> Result<Option<String>, String> {
        let mut config = config();
        change(&mut config);
        config.check().map_err(|error| error.to_string())?;
        Ok(config.discovered().map(str::to_owned))
    }

    #[test]
    fn keys_are_discovered_where_only_the_issuer_is_known() {
        const ISSUER: &str = "https://id.example/realms/r";
        let issuer = |config: &mut JwtConfig| config.claims.jwt_issuer = Some(ISSUER.to_owned());
        assert_eq!(checked(issuer), Ok(Some(ISSUER.to_owned())));
        let others: [fn(&mut JwtConfig); 3] = [
            |config| config.jwt_secret = Some(Secret::new(&"s".repeat(32))),
            |config| config.jwt_jwks_url = Some(Secret::new("https://id.example/jwks")),
            |config| config.jwt_jwks_file = Some("jwks.json".into()),
        ];
        for other in others {
            assert_eq!(checked(|config| (issuer(config), other(config)).0), Ok(None));
        }
        let said = |change: fn(&mut JwtConfig)| {
            let mut config = config();
            issuer(&mut config);
            change(&mut config);
            config.warnings().concat()
        };
        assert!(said(|_| {}).starts_with("JWT_AUDIENCE is not set: "));
        assert_eq!(said(|config| config.claims.jwt_audience = Some(List::one("api".to_owned()))), "");
        assert_eq!(said(|config| config.jwt_jwks_file = Some("jwks.json".into())), "", "its keys are chosen by hand");
        let nothing = checked(|config| config.claims.jwt_issuer = Some("id.example".to_owned())).unwrap_err();
        assert!(nothing.contains("or an https address as JWT_ISSUER"), "{nothing}");
    }

    #[test]
    fn a_secret_is_as_long_as_its_algorithm_asks_for() {
        for (algorithm, name, least) in [
            (SecretAlgorithm::Hs256, "HS256", 32),
            (SecretAlgorithm::Hs384, "HS384", 48),
            (SecretAlgorithm::Hs512, "HS512", 64),
        ] {
            let with = |now: usize, before: Option<usize>, short: bool| {
                checked(|config| {
                    config.jwt_secret_algorithm = algorithm;
                    config.jwt_secret = Some(Secret::new(&"s".repeat(now)));
                    config.jwt_secret_previous = before.map(|before| Secret::new(&"b".repeat(before)));
                    config.jwt_allow_short_secret = short;
                })
            };
            assert_eq!(with(least, Some(least), false), Ok(None));
            assert_eq!(with(least - 1, Some(1), true), Ok(None));
            for (setting, refused) in [
                ("JWT_SECRET", with(least - 1, None, false)),
                ("JWT_SECRET_PREVIOUS", with(least, Some(least - 1), false)),
            ] {
                let said = refused.unwrap_err();
                assert!(
                    said.starts_with(&format!("{setting} must have at least {least} bytes, as {name} re")),
                    "{said}"
                );
            }
        }
        let alone = checked(|config| {
            config.jwt_jwks_file = Some("jwks.json".into());
            config.jwt_secret_previous = Some(Secret::new(&"b".repeat(32)));
        });
        assert_eq!(alone.unwrap_err(), "JWT_SECRET_PREVIOUS needs JWT_SECRET");
    }
}
