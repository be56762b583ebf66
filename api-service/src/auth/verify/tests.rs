//! Valid tokens, and single faults that make them invalid. Deliberate attacks are in `attacks`.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::super::config::{JwtConfig, SecretAlgorithm};
use super::super::keys::{Published, Secrets};
use super::*;
use crate::auth::{ClaimPath, List};

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

pub(in crate::auth) fn config() -> JwtConfig {
    JwtConfig {
        jwt_secret: None,
        jwt_secret_previous: None,
        jwt_secret_algorithm: SecretAlgorithm::Hs256,
        jwt_allow_short_secret: false,
        jwt_jwks_url: None,
        jwt_jwks_file: None,
        jwt_jwks_refresh: std::time::Duration::ZERO,
        jwt_jwks_allow_http: false,
        claims: ClaimsConfig::default(),
    }
}

pub(in crate::auth) fn secrets(secrets: &[&str]) -> Secrets {
    Secrets::new(Algorithm::HS256, secrets.iter().copied())
}

pub(super) fn verifier(issuer: Option<&str>, audience: Option<&str>) -> Checker {
    checker(ClaimsConfig {
        jwt_issuer: issuer.map(Into::into),
        jwt_audience: audience.map(|audience| audience.parse().unwrap()),
        ..ClaimsConfig::default()
    })
}

pub(super) fn checker(config: ClaimsConfig) -> Checker {
    let bindings = vec![("device_id", List::one(ClaimPath::named("device_id")))];
    let declared = Declared { roles: vec!["device", "user", "admin"], bindings };
    let verifier = Verifier::new(&config, declared).unwrap();
    Checker { verifier, keys: Keys::new(secrets(&[SECRET]), Published::Never) }
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

pub(super) fn token(claims: &Value) -> String {
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
    let caller = verify(json!({"roles": ["user", "odd", "user"]})).unwrap();
    let roles = vec!["user".into()];
    assert_eq!(caller, Caller { subject: "alice".into(), is_anonymous: false, roles, bound: Vec::new() });
    assert_eq!(caller.quota(), "alice");
    for (claim, ids) in [(json!("a"), &["a"][..]), (json!(["a", "b"]), &["a", "b"]), (json!([]), &[])] {
        let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        assert_eq!(verify(json!({"device_id": claim})).unwrap().bound_to("device_id"), Some(&*ids));
    }
    assert!(verify(json!({"roles": null})).unwrap().roles.is_empty(), "without a role it is good for nothing");
    assert!(verify(json!({"iss": "whoever", "aud": "whatever"})).is_ok(), "not looked at where not configured");
}

#[test]
fn a_claim_that_is_null_is_absent() {
    let verify = |name: &str| {
        let mut claims = claims(json!({}));
        claims[name] = Value::Null;
        verifier(None, None).verify(&token(&claims), NOW)
    };
    for name in ["nbf", "iss", "aud", "iat", "jti"] {
        assert_eq!(verify(name).unwrap().roles, ["user"], "{name}");
    }
    assert!(verify("roles").unwrap().roles.is_empty());
    assert_eq!(verify("device_id").unwrap().bound_to("device_id"), None);
    for name in ["sub", "exp"] {
        assert_eq!(verify(name).unwrap_err().parts(), ("claim", format!("the token has no `{name}`").into()));
    }
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
    let no_roles = "the token's `roles` must be a string or a list of strings";
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
        (json!({"roles": {"admin": true}}), no_roles),
        (json!({"roles": [7]}), no_roles),
        (json!({"device_id": 7}), no_device),
        (json!({"device_id": [7]}), no_device),
    ] {
        let refused = verify(changes.clone()).unwrap_err();
        assert_eq!(refused.parts(), ("claim", said.into()), "{changes}");
    }
    let twice = Rejected::Claim("sub".into(), Wrong::Twice);
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
        assert_eq!(audience(wrong), Err(Rejected::Audience("aud".into(), "api".into())));
    }
    let either = |aud| verifier(None, Some("api, web")).verify(&token(&claims(json!({"aud": aud}))), NOW).map(drop);
    assert_eq!((either("api"), either("web")), (Ok(()), Ok(())));
    assert_eq!(either("api, web"), Err(Rejected::Audience("aud".into(), "api or web".into())));
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

#[test]
fn a_secret_and_the_one_before_it_and_its_algorithm_only() {
    let (new, old) = ("the new secret of thirty-two bytes or more", "the old secret of thirty-two bytes or more");
    let claims = claims(json!({}));
    let hmac = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    for ours in hmac {
        let keys = Keys::new(Secrets::new(ours, [new, old]), Published::Never);
        let checker = Checker { keys, ..verifier(None, None) };
        for (secret, theirs) in [new, old].iter().flat_map(|secret| hmac.map(|theirs| (secret, theirs))) {
            let expected = if theirs == ours { Ok(()) } else { Err(Rejected::Algorithm) };
            let found = checker.verify(&signed(theirs, secret, &claims), NOW).map(drop);
            assert_eq!(found, expected, "{ours:?}, {theirs:?}, {secret}");
        }
        assert_eq!(checker.verify(&signed(ours, SECRET, &claims), NOW), Err(Rejected::Signature), "{ours:?}");
    }
}

#[test]
fn a_token_has_up_to_15000_bytes() {
    // A part in base64url cannot have every length, so the header fills up.
    let of_length = |length: usize| {
        let padded = |(payload, header): (usize, usize)| {
            let claims = claims(json!({"groups": "g".repeat(payload)}));
            let header = json!({"alg": "HS256", "x": "h".repeat(header)});
            devstack::token::Signer::secret(SECRET).sign_with(&header, &claims).unwrap()
        };
        let most = length * 3 / 4;
        let mut all = (most - 300..most).flat_map(|payload| (0..3).map(move |header| (payload, header))).map(padded);
        all.find(|token| token.len() == length).unwrap()
    };
    assert_eq!(verifier(None, None).verify(&of_length(15_000), NOW).unwrap().roles, ["user"]);
    let refused = verifier(None, None).verify(&of_length(15_001), NOW).unwrap_err();
    let said = "the token is too long: it has 15001 bytes, and may have 15000";
    assert_eq!(refused.parts(), ("too_long", said.into()));
}
