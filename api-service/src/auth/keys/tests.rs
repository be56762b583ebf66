//! The keys of a JWKS that are accepted, and those that are not.

use devstack::token::Signer;
use serde_json::{Value, json};

use super::super::verify::tests::{secrets, with};
use super::*;

fn jwk(algorithm: &str, kid: Option<&str>) -> Value {
    let (signer, _) = Signer::generate(algorithm, kid).unwrap();
    serde_json::to_value(signer.public().unwrap()).unwrap()
}

fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
    parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn each_kind_is_bound_to_the_algorithm_that_it_names_or_to_those_of_its_kind() {
    for (algorithm, of_its_kind) in [
        ("RS256", RSA),
        ("RS384", RSA),
        ("RS512", RSA),
        ("PS256", RSA),
        ("PS384", RSA),
        ("PS512", RSA),
        ("ES256", &[Algorithm::ES256]),
        ("ES384", &[Algorithm::ES384]),
        ("EdDSA", &[Algorithm::EdDSA]),
    ] {
        let named = jwk(algorithm, Some("k"));
        let without = with(named.clone(), json!({"alg": null, "use": null}));
        for (jwk, algorithms) in [(named, &[algorithm.parse().unwrap()][..]), (without, of_its_kind)] {
            let found = set(&[jwk]).unwrap();
            assert_eq!(found.keys[0].algorithms, algorithms, "{algorithm}");
            assert!(found.passed_over.is_empty());
        }
    }
    let ed = with(jwk("EdDSA", None), json!({"alg": "Ed25519"}));
    assert_eq!(set(&[ed]).unwrap().keys[0].algorithms, [Algorithm::EdDSA]);
}

#[test]
fn what_cannot_be_used_is_passed_over() {
    let (rsa, ec, ed) = (jwk("RS256", Some("k")), jwk("ES256", Some("k")), jwk("EdDSA", Some("k")));
    let n = |bytes: usize, first: &str| format!("{first}{}", "A".repeat((bytes * 4).div_ceil(3) - first.len()));
    for (what, bad, why) in [
        ("for encryption", with(ec.clone(), json!({"use": "enc"})), "its `use` is not `sig`"),
        ("for signing", with(ec.clone(), json!({"key_ops": ["sign"]})), "its `key_ops` lacks `verify`"),
        ("for nothing", with(ec.clone(), json!({"key_ops": []})), "its `key_ops` lacks `verify`"),
        ("key_ops of another type", with(ec.clone(), json!({"key_ops": "verify"})), "malformed"),
        (
            "a secret",
            json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256", "kid": "k"}),
            "a secret",
        ),
        ("RSA for HMAC", with(rsa.clone(), json!({"alg": "HS256"})), "its `alg` is not supported for its kind"),
        ("RSA to encrypt", with(rsa.clone(), json!({"alg": "RSA-OAEP"})), "its `alg` is not supported for its kind"),
        ("RSA for an EC key", with(rsa.clone(), json!({"alg": "ES256"})), "its `alg` is not supported for its kind"),
        ("an EC key for RSA", with(ec.clone(), json!({"alg": "RS256"})), "its `alg` is not supported for its kind"),
        ("alg none", with(ec.clone(), json!({"alg": "none"})), "its `alg` is not supported for its kind"),
        ("RSA of 1024 bits", with(rsa.clone(), json!({"n": n(128, "_")})), "not from 2048 to 8192 bits"),
        ("RSA of 2047 bits", with(rsa.clone(), json!({"n": n(256, "f")})), "not from 2048 to 8192 bits"),
        ("RSA of zeros", with(rsa.clone(), json!({"n": n(256, "A")})), "not from 2048 to 8192 bits"),
        ("RSA of 16384 bits", with(rsa.clone(), json!({"n": n(2048, "_")})), "not from 2048 to 8192 bits"),
        ("RSA without e", with(rsa.clone(), json!({"e": null})), "malformed"),
        ("RSA, not base64url", with(rsa, json!({"n": "+/=="})), "malformed"),
        ("another curve's point", with(ec.clone(), json!({"crv": "P-384"})), "malformed"),
        ("P-521", with(ec.clone(), json!({"crv": "P-521"})), "its `kty` or `crv` is not supported"),
        (
            "another curve's algorithm",
            with(ec.clone(), json!({"alg": "ES384"})),
            "its `alg` is not supported for its kind",
        ),
        ("secp256k1", with(ec.clone(), json!({"crv": "secp256k1"})), "its `kty` or `crv` is not supported"),
        ("no point of P-256", with(ec.clone(), json!({"y": ec["x"]})), "not a point of its curve"),
        (
            "the point at nowhere",
            with(ec.clone(), json!({"x": "A".repeat(43), "y": "A".repeat(43)})),
            "not a point of its curve",
        ),
        ("half a point", with(ec.clone(), json!({"y": null})), "malformed"),
        ("EC, cut", with(ec.clone(), json!({"x": "AAAA"})), "malformed"),
        ("Ed448", with(ed.clone(), json!({"crv": "Ed448"})), "its `kty` or `crv` is not supported"),
        ("X25519", with(ed.clone(), json!({"crv": "X25519"})), "its `kty` or `crv` is not supported"),
        ("Ed25519, cut", with(ed, json!({"x": "AAAA"})), "malformed"),
        ("private", with(ec.clone(), json!({"d": "AAAA"})), "private"),
        ("a kid of another type", with(ec.clone(), json!({"kid": 7})), "malformed"),
        ("of no kind", with(ec.clone(), json!({"kty": null})), "malformed"),
        ("of an unknown kind", with(ec, json!({"kty": "AKP"})), "its `kty` or `crv` is not supported"),
        ("nothing", json!({}), "malformed"),
        ("no object", json!("key"), "malformed"),
    ] {
        let found = set(&[bad.clone(), jwk("ES256", Some("good"))]).unwrap();
        assert_eq!(found.keys.len(), 1, "{what}");
        assert_eq!(found.passed_over.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [why], "{what}");
        assert_eq!(set(&[bad]).unwrap_err(), KeySetError::Empty, "{what}");
    }
}

#[test]
fn what_is_no_jwks() {
    for bad in ["", "null", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[]} x"#] {
        assert_eq!(parse(bad.as_bytes()).unwrap_err(), KeySetError::Malformed, "{bad}");
    }
    assert_eq!(parse(br#"{"keys":[]}"#).unwrap_err(), KeySetError::Empty);
}

#[test]
fn one_key_is_selected_or_none() {
    let (one, two) = (jwk("ES256", Some("one")), jwk("ES256", Some("two")));
    let ed = jwk("EdDSA", Some("one"));
    let keys = |jwks: &[Value]| Keys::new(Secrets::default(), Published::Known(set(jwks).unwrap().keys));
    let all = keys(&[one.clone(), two.clone(), ed]);
    let select = |keys: &Keys, algorithm, kid| keys.select(algorithm, kid).map(drop);
    assert_eq!(select(&all, Algorithm::ES256, Some("one")), Ok(()));
    assert_eq!(select(&all, Algorithm::EdDSA, Some("one")), Ok(()), "a name may be used once for each algorithm");
    assert_eq!(select(&all, Algorithm::EdDSA, None), Ok(()), "the only one");
    assert_eq!(select(&all, Algorithm::ES256, None), Err(Rejected::AmbiguousKey));
    assert_eq!(select(&all, Algorithm::ES256, Some("three")), Err(Rejected::UnknownKey));
    assert_eq!(select(&all, Algorithm::RS256, Some("one")), Err(Rejected::UnknownKey));
    assert_eq!(select(&all, Algorithm::HS256, Some("one")), Err(Rejected::Algorithm), "no secret, no HS256");
    assert_eq!(select(&all, Algorithm::ES384, Some("one")), Err(Rejected::UnknownKey));
    assert_eq!(select(&all, Algorithm::PS256, Some("one")), Err(Rejected::UnknownKey));

    let twice = keys(&[one.clone(), one.clone()]);
    assert_eq!(select(&twice, Algorithm::ES256, Some("one")), Ok(()), "the same key twice is one");
    let more = keys(&[one.clone(), with(one.clone(), json!({"alg": null})), with(one.clone(), json!({"kid": "1"}))]);
    assert_eq!(select(&more, Algorithm::ES256, Some("one")), Ok(()), "with and without `alg`");
    assert_eq!(select(&more, Algorithm::ES256, None), Ok(()), "under two names");
    let clash = keys(&[one, with(two, json!({"kid": "one"}))]);
    assert_eq!(select(&clash, Algorithm::ES256, Some("one")), Err(Rejected::AmbiguousKey));

    let rsa = with(jwk("RS256", Some("r")), json!({"alg": null}));
    let rsa = [keys(std::slice::from_ref(&rsa)), keys(&[with(rsa, json!({"alg": "PS256"}))])];
    assert_eq!(rsa.each_ref().map(|keys| select(keys, Algorithm::PS256, Some("r"))), [Ok(()), Ok(())]);
    let refused = [Ok(()), Err(Rejected::UnknownKey)];
    assert_eq!(rsa.each_ref().map(|keys| select(keys, Algorithm::RS256, Some("r"))), refused, "its own only");

    let secret = Keys::new(secrets(&["s"]), Published::Never);
    assert_eq!(select(&secret, Algorithm::HS256, Some("whatever")), Ok(()));
    assert_eq!(select(&secret, Algorithm::ES256, None), Err(Rejected::Algorithm));
    let not_yet = Keys::new(secrets(&["s"]), Published::NotYet);
    assert_eq!(select(&not_yet, Algorithm::HS256, None), Ok(()), "does not depend on the JWKS");
    assert_eq!(select(&not_yet, Algorithm::ES256, None), Err(Rejected::NoKeys));
}

#[test]
fn a_generation_is_a_set_of_keys() {
    let text = json!({"keys": [jwk("RS256", Some("r")), jwk("ES256", Some("e"))]}).to_string();
    let read = || parse(text.as_bytes()).unwrap().keys;
    let first = Keys::new(Secrets::default(), Published::NotYet).replaced(read()).unwrap();
    assert!(first.replaced(read()).is_none(), "nothing new");
    let fewer = read().into_iter().take(1).collect();
    assert_eq!(first.replaced(fewer).unwrap().generation, first.generation + 1);
}
