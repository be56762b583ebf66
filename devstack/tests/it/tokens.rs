//! Tokens hold what they were asked to, and verify with their secret only.

use std::process::Command;
use std::time::Duration;

use devstack::token::hs256;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

fn claims(token: &str, secret: &str) -> Option<Value> {
    let validation = Validation::new(Algorithm::HS256);
    let key = DecodingKey::from_secret(secret.as_bytes());
    Some(decode::<Value>(token, &key, &validation).ok()?.claims)
}

#[test]
fn a_token_verifies_with_its_secret_only() {
    let token = hs256("secret", "sub", &["admin", "user"], &[], Duration::from_secs(60)).unwrap();
    let claims_of_it = claims(&token, "secret").unwrap();
    assert_eq!(claims_of_it["sub"], "sub");
    assert_eq!(claims_of_it["roles"], json!(["admin", "user"]));
    assert_eq!(claims_of_it.get("device_id"), None);
    let life = claims_of_it["exp"].as_u64().unwrap() - claims_of_it["iat"].as_u64().unwrap();
    assert_eq!(life, 60);
    assert_eq!(claims(&token, "other"), None);
}

#[test]
fn one_device_is_a_string_and_several_are_a_list() {
    let token = |devices| hs256("s", "d", &["device"], devices, Duration::from_secs(60)).unwrap();
    assert_eq!(claims(&token(&["a"]), "s").unwrap()["device_id"], "a");
    assert_eq!(claims(&token(&["a", "b"]), "s").unwrap()["device_id"], json!(["a", "b"]));
}

#[test]
fn the_command_prints_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_devstack"))
        .args(["token", "--subject", "me", "--role", "user", "--lifetime", "1h"])
        .env("JWT_SECRET", "shh")
        .output()
        .unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(claims(token.trim(), "shh").unwrap()["sub"], "me");
}
