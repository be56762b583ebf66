//! Tokens contain the requested claims, and verify only with their secret.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

#[test]
fn the_command_prints_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_devstack"))
        .args(["token", "--subject", "me", "--role", "user", "--lifetime", "1h"])
        .envs([("JWT_SECRET", "shh"), ("JWT_SECRET_ALGORITHM", "hs512"), ("JWT_ISSUER", "us")])
        .env("JWT_AUDIENCE", "api, web")
        .output()
        .unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    let mut validation = Validation::new(Algorithm::HS512);
    validation.set_audience(&["api"]);
    let found = decode::<Value>(token.trim(), &DecodingKey::from_secret(b"shh"), &validation).unwrap().claims;
    assert_eq!((&found["sub"], &found["iss"]), (&json!("me"), &json!("us")));
}

fn devstack(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devstack"));
    for name in ["JWT_SECRET", "JWT_SECRET_ALGORITHM", "JWT_ISSUER", "JWT_AUDIENCE"] {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

#[test]
fn tokens_that_have_to_be_refused_and_those_for_somebody() {
    let made = |more: &[&str]| {
        let output = devstack(&[&["token", "--secret", "shh", "--role", "user"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // The claims, without verification.
    let said = |token: &str| -> Value {
        let claims = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    };
    let plain = said(&made(&[]));
    for absent in ["iss", "aud", "nbf", "device_id"] {
        assert_eq!(plain.get(absent), None, "{absent}");
    }
    let named = said(&made(&["--issuer", "us", "--audience", "api"]));
    assert_eq!((&named["iss"], &named["aud"]), (&json!("us"), &json!("api")));

    let later = made(&["--not-before", "2h"]);
    assert!(said(&later)["nbf"].as_u64().unwrap() >= now + 7200);
    let expired = made(&["--expired"]);
    assert!(said(&expired)["exp"].as_u64().unwrap() <= now - 3590);
    let tampered = made(&["--tampered"]);
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_nbf = true;
    for refused in [&later, &expired, &tampered] {
        assert!(decode::<Value>(refused, &DecodingKey::from_secret(b"shh"), &validation).is_err(), "{refused}");
    }
    let unsigned = String::from_utf8(devstack(&["token", "--role", "admin", "--unsigned"]).stdout).unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.decode(unsigned.split('.').next().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&header).unwrap(), json!({"typ": "JWT", "alg": "none"}));
    assert!(unsigned.trim().ends_with('.') && said(unsigned.trim())["roles"] == json!(["admin"]), "{unsigned}");
    let kid = made(&["--kid", "../../etc/passwd"]);
    assert_eq!(decode_header(&kid).unwrap().kid.as_deref(), Some("../../etc/passwd"));
    assert!(decode::<Value>(&kid, &DecodingKey::from_secret(b"shh"), &Validation::new(Algorithm::HS256)).is_ok());
}

#[test]
fn keys_and_what_they_sign_fit_for_every_algorithm() {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let (jwks, all) = (path("jwks"), [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    let named = all.map(|algorithm| (format!("{algorithm:?}"), algorithm));
    for (name, _) in &named {
        let key = path(name);
        let make = ["keys", "--algorithm", name, "--kid", name, "--key", &key, "--jwks", &jwks];
        assert!(devstack(&make).status.success());
        assert!(!devstack(&make).status.success(), "nothing is overwritten");
    }
    let published = std::fs::read_to_string(&jwks).unwrap();
    assert!(!published.contains("\"d\""), "no private part");
    let published: JwkSet = serde_json::from_str(&published).unwrap();
    for (name, algorithm) in &named {
        let key = path(name);
        let sign = ["token", "--role", "user", "--algorithm", name, "--key", &key, "--kid", name];
        let token = String::from_utf8(devstack(&sign).stdout).unwrap();
        assert_eq!(decode_header(token.trim()).unwrap().kid.as_ref(), Some(name));
        let public = DecodingKey::from_jwk(published.find(name).unwrap()).unwrap();
        let found = decode::<Value>(token.trim(), &public, &Validation::new(*algorithm)).unwrap();
        assert_eq!(found.claims["roles"], json!(["user"]));
    }
}

#[test]
fn a_second_key_is_added_to_a_jwks_and_what_cannot_be_written_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let made = |kid: &str, key: &str, jwks: &str| {
        let output = devstack(&["keys", "--kid", kid, "--key", &path(key), "--jwks", &path(jwks)]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let files = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>().len()
    };

    // Another party's key, with an unknown type and unknown members.
    let theirs = json!({"keys": [{"kty": "AKP", "kid": "theirs", "x-y": 1}], "more": true});
    std::fs::write(path("jwks"), theirs.to_string()).unwrap();
    assert_eq!(made("one", "one.pem", "jwks"), (true, String::new()));
    assert_eq!(made("two", "two.pem", "jwks"), (true, String::new()));
    let published: Value = serde_json::from_slice(&std::fs::read(path("jwks")).unwrap()).unwrap();
    let kids: Vec<_> = published["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, ["theirs", "one", "two"]);
    assert_eq!((&published["keys"][0], &published["more"]), (&theirs["keys"][0], &json!(true)));
    assert_eq!(files(), 3);

    std::fs::write(path("none"), "{}").unwrap();
    let before = std::fs::read(path("jwks")).unwrap();
    for (kid, key, jwks, why) in [
        ("two", "three.pem", "jwks", "has a key `two`"),
        ("three", "one.pem", "jwks", "one.pem"),
        ("three", "three.pem", "none", "is not a JWKS"),
        ("three", "three.pem", "one.pem", "is not JSON"),
        ("three", "three.pem", "nowhere/jwks", "nowhere/jwks"),
        ("three", "nowhere/three.pem", "jwks", "nowhere/three.pem"),
    ] {
        let (is_made, said) = made(kid, key, jwks);
        assert!(!is_made && said.contains(why), "{said}");
        assert_eq!(files(), 4, "{why}: no file more");
    }
    assert_eq!(std::fs::read(path("jwks")).unwrap(), before);
    // So repeating the failed call works.
    assert_eq!(made("three", "three.pem", "jwks"), (true, String::new()));
}

#[test]
fn without_a_secret_or_a_key_there_is_no_token() {
    assert!(!devstack(&["token", "--role", "user"]).status.success());
    assert!(!devstack(&["token", "--algorithm", "ES256"]).status.success());
}
