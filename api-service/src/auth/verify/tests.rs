//! Valid tokens, and single faults that make them invalid. Deliberate attacks are in `attacks`.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::super::keys::Published;
use super::*;

pub(super) const SECRET: &str = "a secret of more than thirty-two bytes";
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) struct Checker {
    pub(super) verifier: Verifier,
    pub(super) keys: Keys,
}

impl Checker {
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Caller, Rejected> {
        self.verifier.verify(token, now, &self.keys).map(|verified| Arc::unwrap_or_clone(verified.caller))
    }
}

pub(in crate::auth) fn config(issuer: Option<&str>, audience: Option<&str>) -> JwtConfig {
    JwtConfig {
        jwt_secret: None,
        jwt_allow_short_secret: false,
        jwt_jwks_url: None,
        jwt_jwks_file: None,
        jwt_jwks_refresh: std::time::Duration::ZERO,
        jwt_jwks_allow_http: false,
        jwt_issuer: issuer.map(Into::into),
        jwt_audience: audience.map(Into::into),
    }
}

pub(super) fn verifier(issuer: Option<&str>, audience: Option<&str>) -> Checker {
    let verifier = Verifier::new(&config(issuer, audience), &["device_id"]);
    Checker { verifier, keys: Keys::new(Some(SECRET), Published::Never) }
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(claims: &Value) -> String {
    signed(Algorithm::HS256, SECRET, claims)
}

/// The object with some members replaced; those that are null in `changes` are removed.
pub(in crate::auth) fn with(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    object
}

/// Valid claims, changed.
pub(super) fn claims(changes: Value) -> Value {
    with(json!({"sub": "alice", "roles": ["user"], "exp": NOW + 60}), changes)
}

fn verify(changes: Value) -> Result<Caller, Rejected> {
    verifier(None, None).verify(&token(&claims(changes)), NOW)
}

#[test]
fn a_good_token() {
    let caller = verify(json!({"roles": ["user", "odd"]})).unwrap();
    assert_eq!(caller, Caller { subject: "alice".into(), roles: vec!["user".into(), "odd".into()], bound: Vec::new() });
    for (claim, ids) in [(json!("a"), &["a"][..]), (json!(["a", "b"]), &["a", "b"]), (json!([]), &[])] {
        let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        assert_eq!(verify(json!({"device_id": claim})).unwrap().bound_to("device_id"), Some(&*ids));
    }
    assert!(verify(json!({"roles": null})).unwrap().roles.is_empty(), "without a role it is good for nothing");
    assert!(verify(json!({"iss": "whoever", "aud": "whatever"})).is_ok(), "not looked at where not configured");
}

#[test]
fn time() {
    assert!(verify(json!({"exp": NOW - 29})).is_ok(), "clocks may differ");
    assert_eq!(verify(json!({"exp": NOW - 30})), Err(Rejected::Expired));
    assert_eq!(verify(json!({"exp": 0})), Err(Rejected::Expired));
    assert_eq!(verify(json!({"exp": -1})), Err(Rejected::Expired));
    assert!(verify(json!({"exp": NOW as f64 + 0.5})).is_ok(), "a NumericDate may have a fraction");
    assert!(verify(json!({"nbf": NOW + 30})).is_ok());
    assert_eq!(verify(json!({"nbf": NOW + 31})), Err(Rejected::NotYetValid));
}

#[test]
fn a_refusal_names_the_claim_and_its_fault() {
    let no_subject = "the token's `sub` must be a string of 1 to 256 bytes without control characters";
    let no_roles = "the token's `roles` must be a list of strings";
    let no_device = "the token's `device_id` must be a string or a list of strings";
    for (changes, said) in [
        (json!({"exp": null}), "the token has no `exp`"),
        (json!({"exp": true}), "the token's `exp` must be a number of seconds since 1970"),
        (json!({"nbf": "soon"}), "the token's `nbf` must be a number of seconds since 1970"),
        (json!({"sub": null}), "the token has no `sub`"),
        (json!({"sub": ""}), no_subject),
        (json!({"sub": 7}), no_subject),
        (json!({"sub": "a\nb"}), no_subject),
        (json!({"sub": "a\u{0}"}), no_subject),
        (json!({"sub": "a".repeat(257)}), no_subject),
        (json!({"roles": "admin"}), no_roles),
        (json!({"roles": [7]}), no_roles),
        (json!({"device_id": 7}), no_device),
        (json!({"device_id": [7]}), no_device),
    ] {
        let refused = verify(changes.clone()).unwrap_err();
        assert_eq!(refused.parts(), ("claim", said.into()), "{changes}");
    }
    let twice = Rejected::Claim("sub", Wrong::Twice);
    assert_eq!(twice.parts(), ("claim", "the token has `sub` more than once".into()));
    let refused = verifier(None, None).verify(&token(&json!([])), NOW).unwrap_err();
    assert_eq!(refused.parts(), ("claim", "the token's claims are malformed, or not a JSON object".into()));
}

#[test]
fn issuer_and_audience_are_required_where_configured() {
    let issuer = |changes| verifier(Some("us"), None).verify(&token(&claims(changes)), NOW).map(drop);
    assert_eq!(issuer(json!({"iss": "us"})), Ok(()));
    for wrong in [json!({}), json!({"iss": "them"}), json!({"iss": ["us"]}), json!({"iss": 7})] {
        assert_eq!(issuer(wrong), Err(Rejected::Issuer("us".into())));
    }
    assert_eq!(issuer(json!({})).unwrap_err().parts(), ("issuer", "the token's issuer (`iss`) must be us".into()));
    let audience = |changes| verifier(None, Some("api")).verify(&token(&claims(changes)), NOW).map(drop);
    assert_eq!(audience(json!({"aud": "api"})), Ok(()));
    assert_eq!(audience(json!({"aud": ["other", "api"]})), Ok(()));
    for wrong in [json!({}), json!({"aud": "other"}), json!({"aud": []}), json!({"aud": ["api", 7]}), json!({"aud": 7})]
    {
        assert_eq!(audience(wrong), Err(Rejected::Audience("api".into())));
    }
    let said = "the token's audience (`aud`) must be api, or contain it";
    assert_eq!(audience(json!({})).unwrap_err().parts(), ("audience", said.into()));
}

#[test]
fn another_secret_or_another_hash() {
    let verify = |token: &str| verifier(None, None).verify(token, NOW);
    let other = signed(Algorithm::HS256, "another secret of thirty-two bytes!", &claims(json!({})));
    assert_eq!(verify(&other), Err(Rejected::Signature));
    for wrong in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(verify(&signed(wrong, SECRET, &claims(json!({})))), Err(Rejected::Algorithm), "{wrong:?}");
    }
}
