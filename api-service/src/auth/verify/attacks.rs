//! Attacks: tokens that no honest issuer makes.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::RsaPublicKeyComponents as PublicKeyComponents;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use devstack::token::{Signer, jwks};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Header, encode};
use serde_json::json;

use super::super::keys::{Published, parse};
use super::tests::{Checker, NOW, SECRET, claims, secrets, verifier};
use super::*;

const RSA: &str = "RS256";
const EC: &str = "ES256";
const ED: &str = "EdDSA";

pub(super) struct World {
    pub(super) checker: Checker,
    rsa: Signer,
    ec: Signer,
    ed: Signer,
}

/// Keys of each algorithm, and the secret if there is one.
pub(super) fn world(secret: Option<&str>) -> World {
    let signer = |algorithm: &str| Signer::generate(algorithm, Some(algorithm)).unwrap().0;
    let (rsa, ec, ed) = (signer(RSA), signer(EC), signer(ED));
    let set = parse(jwks(&[&rsa, &ec, &ed]).unwrap().as_bytes()).unwrap();
    let keys = Keys::new(secrets(&Vec::from_iter(secret)), Published::Known(set.keys));
    World { checker: Checker { keys, ..verifier(None, None) }, rsa, ec, ed }
}

impl World {
    pub(super) fn verify(&self, token: &str) -> Result<Caller, Rejected> {
        self.checker.verify(token, NOW)
    }
}

fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims exactly as given, signed with this secret.
fn forged(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url(signature.as_ref()))
}

fn good_claims() -> String {
    claims(json!({"roles": ["admin"]})).to_string()
}

/// A token with this header, exactly as given, and the signature of the true secret.
pub(super) fn with_header(header: &str) -> String {
    forged(header, &good_claims(), SECRET.as_bytes())
}

pub(super) fn with_claims(claims: &str) -> String {
    forged(r#"{"alg":"HS256"}"#, claims, SECRET.as_bytes())
}

#[test]
fn the_forger_can_make_a_good_one() {
    let world = world(Some(SECRET));
    world.verify(&with_header(r#"{"alg":"HS256"}"#)).unwrap();
    for signer in [&world.rsa, &world.ec, &world.ed] {
        world.verify(&signer.sign(&claims(json!({}))).unwrap()).unwrap();
    }
}

#[test]
fn no_signature() {
    let world = world(Some(SECRET));
    let claims = base64url(good_claims().as_bytes());
    for name in ["none", "None", "NONE", "nOnE", "", "null", "HS256 ", "hs256", "HS257"] {
        let header = base64url(json!({"alg": name, "typ": "JWT"}).to_string().as_bytes());
        for signature in ["", "AA", "AAAA", &"A".repeat(43)] {
            let token = format!("{header}.{claims}.{signature}");
            assert_eq!(world.verify(&token), Err(Rejected::Algorithm), "{name} {signature}");
        }
        assert_eq!(world.verify(&with_header(&json!({"alg": name}).to_string())), Err(Rejected::Algorithm), "{name}");
    }
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
        let header = base64url(json!({"alg": algorithm, "kid": algorithm}).to_string().as_bytes());
        // An empty signature; r = s = 0 and other lengths of zeros; all ones.
        for signature in [vec![], vec![0; 32], vec![0; 64], vec![0; 256], vec![0xff; 32], vec![0xff; 64]] {
            let token = format!("{header}.{claims}.{}", base64url(&signature));
            assert_eq!(world.verify(&token), Err(Rejected::Signature), "{algorithm} {signature:?}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    for secret in [None, Some(SECRET)] {
        let world = world(secret);
        for signer in [&world.rsa, &world.ec, &world.ed] {
            let key = signer.public().unwrap();
            let jwk = serde_json::to_value(&key).unwrap();
            // Every form in which an attacker may have the public key.
            let mut public = vec![jwk.to_string().into_bytes(), jwks(&[signer]).unwrap().into_bytes(), vec![], vec![0]];
            public.extend(["n", "e", "x", "y"].iter().filter_map(|name| Some(jwk[name].as_str()?.into())));
            if let DecodingKeyKind::RsaModulusExponent { n, e } = DecodingKey::from_jwk(&key).unwrap().kind() {
                let der = PublicKeyComponents { n, e }.as_der().unwrap().as_ref().to_vec();
                let lines: Vec<_> = BASE64_STANDARD.encode(&der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
                let lines = String::from_utf8(lines.join(&b'\n')).unwrap();
                let pem = format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----");
                public.extend([der, n.clone(), pem.clone().into_bytes(), format!("{pem}\n").into_bytes()]);
            }
            for key in public {
                for header in [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": jwk["kid"]})] {
                    let token = forged(&header.to_string(), &good_claims(), &key);
                    let expected = if secret.is_some() { Rejected::Signature } else { Rejected::Algorithm };
                    assert_eq!(world.verify(&token), Err(expected));
                }
            }
        }
    }
}

#[test]
fn keys_that_the_token_brings_along_count_for_nothing() {
    let world = world(None);
    let thief = Signer::generate(EC, Some("thief")).unwrap();
    let jwk = thief.0.public().unwrap();
    let key = EncodingKey::from_ec_der(&thief.1);
    let sign = |change: &dyn Fn(&mut Header)| {
        let mut header = Header::new(Algorithm::ES256);
        change(&mut header);
        encode(&header, &claims(json!({})), &key).unwrap()
    };
    let url = || Some("https://thief.example/jwks".to_owned());
    for (what, token, expected) in [
        ("jwk", sign(&|header| header.jwk = Some(jwk.clone())), Rejected::Signature),
        (
            "jwk, named",
            sign(&|header| (header.jwk, header.kid) = (Some(jwk.clone()), Some("thief".into()))),
            Rejected::UnknownKey,
        ),
        (
            "jwk, as ours",
            sign(&|header| (header.jwk, header.kid) = (Some(jwk.clone()), Some(EC.into()))),
            Rejected::Signature,
        ),
        ("jku", sign(&|header| (header.jku, header.kid) = (url(), Some("thief".into()))), Rejected::UnknownKey),
        ("jku, as ours", sign(&|header| (header.jku, header.kid) = (url(), Some(EC.into()))), Rejected::Signature),
        ("x5u", sign(&|header| header.x5u = url()), Rejected::Signature),
        ("x5c", sign(&|header| header.x5c = Some(vec!["AAAA".into()])), Rejected::Signature),
    ] {
        assert_eq!(world.verify(&token), Err(expected), "{what}");
    }
}

#[test]
fn what_counts_for_nothing_in_a_header_refuses_no_token() {
    let world = world(Some(SECRET));
    for name in ["typ", "cty", "nonce", "x5c", "x5t", "x5t#S256", "x5u", "jku", "jwk", "enc", "zip", "url", "anything"]
    {
        for odd in [json!(null), json!(7), json!("x"), json!(["x", 7]), json!({"kty": "RSA"}), json!(true)] {
            let header = json!({"alg": "HS256", name: odd});
            assert!(world.verify(&with_header(&header.to_string())).is_ok(), "{header}");
            let header = json!({"alg": "ES256", "kid": "ES256", name: odd});
            assert!(world.verify(&world.ec.sign_with(&header, &claims(json!({}))).unwrap()).is_ok(), "{header}");
        }
    }
    let twice = r#"{"alg":"HS256","nonce":"a","nonce":"b"}"#;
    assert!(world.verify(&with_header(twice)).is_ok());
}

#[test]
fn kid() {
    let world = world(Some(SECRET));
    let long = "k".repeat(5000);
    let paths = ["../../../dev/null", "/dev/null", "http://x", "$(id)", "' OR '1'='1"];
    for odd in paths.into_iter().chain(["RS256\0", "es256", "", " ", "ключ", &long]) {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(odd.to_owned());
        let key = EncodingKey::from_ec_der(&Signer::generate(EC, None).unwrap().1);
        let token = encode(&header, &claims(json!({})), &key).unwrap();
        assert_eq!(world.verify(&token), Err(Rejected::UnknownKey), "{odd}");
    }
    for odd in [json!(7), json!(["RS256"]), json!({"kid": "RS256"}), json!(true)] {
        let header = |algorithm: &str| json!({"alg": algorithm, "kid": odd}).to_string();
        let refused = world.verify(&with_header(&header("ES256")));
        assert_eq!(refused, Err(Rejected::Malformed("the `kid` in its header is not a string")), "{odd}");
        // A secret has no name.
        world.verify(&with_header(&header("HS256"))).unwrap();
    }
    for (algorithm, expected) in [("HS256", None), ("ES256", Some(Rejected::Signature))] {
        let header = format!(r#"{{"alg":"{algorithm}","kid":null}}"#);
        assert_eq!(world.verify(&with_header(&header)).err(), expected, "null is absent");
    }
}

#[test]
fn another_key_or_algorithm_than_the_one_named() {
    let world = world(None);
    let claims = claims(json!({}));
    // The right kind of key, under the name of another key.
    let other = Signer::generate(EC, Some(EC)).unwrap().0;
    assert_eq!(world.verify(&other.sign(&claims).unwrap()), Err(Rejected::Signature));
    // A valid signature under a header with another algorithm.
    let good = world.ec.sign(&claims).unwrap();
    let (_, rest) = good.split_once('.').unwrap();
    for algorithm in ["RS256", "EdDSA"] {
        let header = base64url(json!({"alg": algorithm, "kid": algorithm}).to_string().as_bytes());
        assert_eq!(world.verify(&format!("{header}.{rest}")), Err(Rejected::Signature), "{algorithm}");
    }
    let crossed = base64url(br#"{"alg":"RS256","kid":"ES256"}"#);
    assert_eq!(world.verify(&format!("{crossed}.{rest}")), Err(Rejected::UnknownKey));
    for (algorithms, expected) in [
        (&["ES512", "ES256K", "HS384", "HS512", "Ed448", "RSA-OAEP"][..], Rejected::Algorithm),
        (&["ES384", "PS256", "PS384", "PS512", "RS384", "RS512"], Rejected::UnknownKey),
    ] {
        for algorithm in algorithms {
            let header = base64url(json!({"alg": algorithm, "kid": "ES256"}).to_string().as_bytes());
            assert_eq!(world.verify(&format!("{header}.{rest}")), Err(expected.clone()), "{algorithm}");
        }
    }
}

#[test]
fn tampered_with_anywhere() {
    let world = world(Some(SECRET));
    let published = [&world.rsa, &world.ec, &world.ed].map(|signer| signer.sign(&claims(json!({}))).unwrap());
    for good in published.into_iter().chain([with_header(r#"{"alg":"HS256"}"#)]) {
        world.verify(&good).unwrap();
        for place in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
            let token = String::from_utf8(bytes).unwrap();
            assert!(world.verify(&token).is_err(), "{place} of {good}");
        }
    }
    // The signature of one token under the claims of another.
    let (one, two) = (world.ec.sign(&claims(json!({}))).unwrap(), world.ec.sign(&claims(json!({"sub": "b"}))).unwrap());
    let mixed = format!("{}.{}", one.rsplit_once('.').unwrap().0, two.rsplit_once('.').unwrap().1);
    assert_eq!(world.verify(&mixed), Err(Rejected::Signature));
}
