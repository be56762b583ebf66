//! Authentication: the caller is the bearer of a valid token. A domain authorizes it before the body is read.

mod claim_path;
mod claims;
mod config;
pub mod fetch;
pub mod internal;
pub mod jwks;
mod jws;
pub mod keys;
pub mod rejected;
mod schedule;
pub mod tokens;
pub mod verify;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use metrics::{counter, describe_counter, describe_gauge};

pub use self::claim_path::{ClaimPath, ClaimPaths, List, RequiredClaim, RoleMapping};
pub use self::config::{ClaimsConfig, JwtConfig, SecretAlgorithm};
use self::tokens::Tokens;
pub use self::verify::{Caller, Declared};
use crate::http::problem::{Code, Problem};

/// The caller of a request; 401 for a missing or invalid token, 503 if the token cannot be verified now.
pub async fn identify(headers: &HeaderMap, tokens: &Tokens) -> Result<Arc<Caller>, Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    tokens.check(token(headers)?, now).await
}

/// The same; a request without any `Authorization` header is of the `anonymous` caller, if there is one. A token that
/// is there has to be valid all the same.
pub async fn identify_or(
    headers: &HeaderMap,
    tokens: &Tokens,
    anonymous: impl FnOnce() -> Option<Arc<Caller>> + Send,
) -> Result<Arc<Caller>, Problem> {
    if !headers.contains_key(header::AUTHORIZATION)
        && let Some(caller) = anonymous()
    {
        return Ok(caller);
    }
    identify(headers, tokens).await
}

impl Caller {
    /// Refuses a caller without any of these roles: 403, and 401 without a token.
    pub fn needs_any(&self, roles: &[&str]) -> Result<(), Problem> {
        if self.has_any(roles) {
            return Ok(());
        }
        let roles = roles.join(", ");
        Err(if self.is_anonymous {
            let detail =
                format!("there is no Authorization header, and this needs a token with one of the roles {roles}");
            Problem::new(Code::INVALID_TOKEN, detail)
        } else {
            Problem::new(Code::FORBIDDEN, format!("the token needs one of the roles {roles}"))
        })
    }
}

pub fn describe() {
    describe_counter!("auth_rejected_total", "Tokens refused, by reason.");
    describe_counter!("auth_verified_total", "Tokens whose signature was checked.");
    describe_gauge!("jwks_last_success_timestamp_seconds", "When the published keys were last read.");
    describe_gauge!("jwks_keys", "Published keys that tokens are checked with; 0: none was read yet.");
    describe_counter!("jwks_refreshes_total", "Reads of the published keys, by outcome.");
    counter!("auth_verified_total").increment(0);
}

/// The bearer token (RFC 6750, section 2.1; the scheme's case does not matter).
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let detail = match (all.next(), all.next()) {
        (None, _) => "there is no Authorization header",
        (Some(_), Some(_)) => "there is more than one Authorization header",
        (Some(only), None) => match only.to_str().ok().and_then(|text| text.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => return Ok(token.trim()),
            _ => "the Authorization header holds no bearer token",
        },
    };
    Err(Problem::new(Code::INVALID_TOKEN, detail))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_token_of_the_header() {
        for good in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(token(&headers(&[good])).unwrap(), "abc");
        }
        for bad in [&[][..], &["abc"], &["Basic abc"], &["Bearer"], &["Bearer abc", "Bearer abc"], &[""]] {
            assert_eq!(token(&headers(bad)).unwrap_err().code, Code::INVALID_TOKEN, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn without_a_token_a_caller_is_anonymous_only_where_that_is_allowed() {
        let tokens = Tokens::new(&verify::tests::config(), Declared::default()).unwrap();
        let anonymous = Arc::new(Caller::anonymous(vec!["tracker".into()]));
        let found = async |values: &[&'static str], allowed: bool| {
            let caller = identify_or(&headers(values), &tokens, || allowed.then(|| Arc::clone(&anonymous))).await;
            caller.map_err(|problem| problem.code)
        };
        assert_eq!(found(&[], true).await, Ok(Arc::clone(&anonymous)));
        assert_eq!(found(&[], false).await, Err(Code::INVALID_TOKEN));
        for bad in [&["Bearer abc"][..], &["Basic abc"], &[""], &["Bearer abc", "Bearer abc"]] {
            assert_eq!(found(bad, true).await, Err(Code::INVALID_TOKEN), "{bad:?} is there, and bad");
        }
        assert_eq!((anonymous.quota(), anonymous.subject.as_str()), ("", "anonymous"));
        assert!(anonymous.needs_any(&["tracker"]).is_ok());
        let refused = anonymous.needs_any(&["admin"]).unwrap_err();
        assert_eq!(refused.code, Code::INVALID_TOKEN, "a token would help");
    }

    #[test]
    fn a_refusal_names_the_roles() {
        let alice = Caller::anonymous(vec!["user".into()]);
        let caller = Caller { subject: "alice".into(), is_anonymous: false, ..alice };
        assert!(caller.needs_any(&["user", "admin"]).is_ok());
        let refused = caller.needs_any(&["device", "admin"]).unwrap_err();
        assert_eq!(refused.code, Code::FORBIDDEN);
        let body = String::from_utf8(refused.body("")).unwrap();
        assert!(body.contains(r#""detail":"the token needs one of the roles device, admin""#), "{body}");
    }
}
