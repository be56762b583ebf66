//! Tokens between services of ours: signed with a secret that only they have, for the audience `internal`, and valid for a
//! minute.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use axum::http::HeaderMap;
use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use shared::runtime::config::Secret;

use super::claim_path::List;
use super::config::ClaimsConfig;
use super::keys::{Keys, Published, Secrets};
use super::rejected::Rejected;
use super::token;
use super::verify::{Caller, Declared, Verifier};
use crate::http::problem::{Code, Problem};

/// No identity provider issues tokens for it to people or devices.
const AUDIENCE: &str = "internal";
/// The subject: the service.
const SUBJECT: &str = "api-service";
/// For how long a token is valid, in seconds: longer than any call, and than clocks differ.
const LIFETIME: u64 = 60;
/// The shortest key that RFC 7518, section 3.2, allows for HS256.
const LEAST: usize = 32;

/// What services of ours authenticate to each other with.
#[derive(Debug, Clone, Args)]
pub struct InternalConfig {
    /// The key of the tokens with which these services call each other, at least 32 bytes long, and none that anybody
    /// else has. With it, `POST /validation/validate` takes only such tokens.
    #[arg(long, env, hide_env_values = true)]
    pub internal_jwt_secret: Option<Secret>,
    /// Another key that is accepted during a rotation: first the next one, then the one before.
    #[arg(long, env, hide_env_values = true)]
    pub internal_jwt_secret_previous: Option<Secret>,
}

impl InternalConfig {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, secret) in [
            ("INTERNAL_JWT_SECRET", &self.internal_jwt_secret),
            ("INTERNAL_JWT_SECRET_PREVIOUS", &self.internal_jwt_secret_previous),
        ] {
            let is_long = secret.as_ref().is_none_or(|secret| secret.expose().len() >= LEAST);
            ensure!(is_long, "{name} must have at least {LEAST} bytes, as HS256 requires");
        }
        ensure!(
            self.internal_jwt_secret.is_some() || self.internal_jwt_secret_previous.is_none(),
            "INTERNAL_JWT_SECRET_PREVIOUS needs INTERNAL_JWT_SECRET"
        );
        Ok(())
    }
}

/// Signs and verifies these tokens.
pub struct Internal {
    signing: EncodingKey,
    keys: Keys,
    verifier: Verifier,
}

#[derive(Serialize)]
struct Claims {
    sub: &'static str,
    aud: &'static str,
    iat: u64,
    exp: u64,
}

impl Internal {
    /// Nothing, if there is no secret.
    pub fn new(config: &InternalConfig) -> anyhow::Result<Option<Self>> {
        let InternalConfig { internal_jwt_secret: Some(secret), internal_jwt_secret_previous: other } = config else {
            return Ok(None);
        };
        let secrets = [Some(secret), other.as_ref()].into_iter().flatten().map(Secret::expose);
        let claims = ClaimsConfig { jwt_audience: Some(List::one(AUDIENCE.to_owned())), ..ClaimsConfig::default() };
        Ok(Some(Self {
            signing: EncodingKey::from_secret(secret.expose().as_bytes()),
            keys: Keys::new(Secrets::new(Algorithm::HS256, secrets), Published::Never),
            verifier: Verifier::new(&claims, Declared::default())?,
        }))
    }

    /// A token for one call.
    pub fn sign(&self) -> anyhow::Result<String> {
        self.signed(now())
    }

    fn signed(&self, now: u64) -> anyhow::Result<String> {
        let claims = Claims { sub: SUBJECT, aud: AUDIENCE, iat: now, exp: now + LIFETIME };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing).context("cannot sign a token")
    }

    /// The service that calls; 401 for any other caller.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
        self.verified(token(headers)?, now()).map_err(|rejected| {
            let (reason, detail) = rejected.parts();
            metrics::counter!("auth_rejected_total", "reason" => reason).increment(1);
            Problem::new(Code::INVALID_TOKEN, detail)
        })
    }

    fn verified(&self, token: &str, now: u64) -> Result<Arc<Caller>, Rejected> {
        self.verifier.verify(token, now, &self.keys).map(|verified| verified.caller)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const ONE: &str = "one secret of the services, of 32 bytes";
    const TWO: &str = "two secrets of the services, of 32 bytes";

    fn config(secret: Option<&str>, previous: Option<&str>) -> InternalConfig {
        InternalConfig {
            internal_jwt_secret: secret.map(Secret::new),
            internal_jwt_secret_previous: previous.map(Secret::new),
        }
    }

    fn internal(secret: &str, previous: Option<&str>) -> Internal {
        Internal::new(&config(Some(secret), previous)).unwrap().unwrap()
    }

    fn signed(secret: &str, claims: serde_json::Value) -> String {
        encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    #[test]
    fn a_token_is_for_one_audience_and_for_a_minute() {
        let one = internal(ONE, None);
        let token = one.signed(NOW).unwrap();
        let caller = one.verified(&token, NOW).unwrap();
        assert_eq!((caller.subject.as_str(), caller.roles.len()), ("api-service", 0));
        // With the tolerated difference of clocks.
        assert!(one.verified(&token, NOW + 89).is_ok());
        assert_eq!(one.verified(&token, NOW + 90).unwrap_err(), Rejected::Expired);
        let with = |claims| one.verified(&signed(ONE, claims), NOW);
        assert!(with(json!({"sub": "s", "aud": ["internal"], "exp": NOW + 60})).is_ok());
        let others = Rejected::Audience("aud".to_owned(), "internal".to_owned());
        for claims in [json!({"sub": "s", "exp": NOW + 60}), json!({"sub": "s", "aud": "api", "exp": NOW + 60})] {
            assert_eq!(with(claims).unwrap_err(), others);
        }
        assert!(matches!(with(json!({"sub": "s", "aud": "internal"})), Err(Rejected::Claim(..))), "it has no end");
    }

    #[test]
    fn only_the_services_can_sign_one() {
        let (one, two) = (internal(ONE, None), internal(TWO, None));
        assert_eq!(one.verified(&two.signed(NOW).unwrap(), NOW).unwrap_err(), Rejected::Signature);
        let bare = |alg: &str| format!("{}.{}.", encoded(&json!({"alg": alg})), encoded(&json!({"sub": "s"})));
        for algorithm in ["none", "HS384", "RS256"] {
            assert_eq!(one.verified(&bare(algorithm), NOW).unwrap_err(), Rejected::Algorithm, "{algorithm}");
        }
        let headers = |token: &str| {
            let value = format!("Bearer {token}").parse().unwrap();
            one.identify(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).map_err(|problem| problem.code)
        };
        assert!(headers(&one.sign().unwrap()).is_ok());
        assert_eq!(headers(&two.sign().unwrap()), Err(Code::INVALID_TOKEN));
        assert_eq!(one.identify(&HeaderMap::new()).unwrap_err().code, Code::INVALID_TOKEN);
    }

    fn encoded(part: &serde_json::Value) -> String {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
    }

    /// No call is refused at any step: first all accept both, then all sign with the new one.
    #[test]
    fn a_secret_can_be_rotated_while_all_work() {
        let steps = [(ONE, None), (ONE, Some(TWO)), (TWO, Some(ONE)), (TWO, None)];
        let steps = steps.map(|(secret, other)| internal(secret, other));
        for pair in steps.windows(2) {
            for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                assert!(pair[to].verified(&pair[from].signed(NOW).unwrap(), NOW).is_ok(), "{from} calls {to}");
            }
        }
        assert!(steps[3].verified(&steps[0].signed(NOW).unwrap(), NOW).is_err());
    }

    #[test]
    fn a_secret_is_long_enough_or_the_start_ends() {
        assert!(config(None, None).check().is_ok() && config(Some(ONE), Some(TWO)).check().is_ok());
        assert!(Internal::new(&config(None, None)).unwrap().is_none());
        for (bad, why) in [
            (config(Some(&ONE[..31]), None), "INTERNAL_JWT_SECRET must have at least 32 bytes"),
            (config(Some(ONE), Some("short")), "INTERNAL_JWT_SECRET_PREVIOUS must have at least 32 bytes"),
            (config(None, Some(ONE)), "INTERNAL_JWT_SECRET_PREVIOUS needs INTERNAL_JWT_SECRET"),
        ] {
            let said = bad.check().unwrap_err().to_string();
            assert!(said.starts_with(why), "{said}");
        }
        assert!(!format!("{:?}", config(Some(ONE), None)).contains(ONE));
    }
}
