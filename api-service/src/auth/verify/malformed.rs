//! Tokens of a shape that no honest issuer makes, signed with the true secret.

use serde_json::{Value, json};

use super::attacks::{with_claims, with_header, world};
use super::tests::{NOW, SECRET, claims};
use super::*;

#[test]
fn headers_and_claims_twice() {
    let world = world(Some(SECRET));
    for header in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","crit":["b64"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":"b64"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":7}"#,
        r#"{"alg":null}"#,
        r#"{"typ":"JWT"}"#,
        r#"["HS256"]"#,
        r#"["HS256",null,null]"#,
        r#"{"alg":"HS256"}{}"#,
        "",
    ] {
        let refused = world.verify(&with_header(header));
        assert!(matches!(refused, Err(Rejected::Malformed(_))), "{header}: {refused:?}");
    }
    for (name, twice) in [
        ("sub", r#"{"sub":"a","sub":"b","roles":["user"],"exp":1800000060}"#),
        ("roles", r#"{"sub":"a","roles":["user"],"roles":["admin"],"exp":1800000060}"#),
        ("exp", r#"{"sub":"a","roles":["user"],"exp":1,"exp":1800000060}"#),
        ("device_id", r#"{"sub":"a","roles":["device"],"device_id":"a","device_id":"b","exp":1800000060}"#),
        ("iss", r#"{"sub":"a","roles":["user"],"iss":"a","iss":"b","exp":1800000060}"#),
    ] {
        assert_eq!(world.verify(&with_claims(twice)), Err(Rejected::Claim(name.into(), Wrong::Twice)), "{twice}");
    }
}

#[test]
fn claims_of_every_wrong_kind() {
    let world = world(Some(SECRET));
    let wrong = [json!(true), json!({}), json!([[]]), json!([null]), json!({"a": []})];
    for claim in ["sub", "exp", "nbf", "roles", "device_id"] {
        for value in &wrong {
            let mut all = claims(json!({}));
            all[claim] = value.clone();
            let refused = world.verify(&with_claims(&all.to_string()));
            assert!(
                matches!(refused, Err(Rejected::Claim(named, Wrong::Not(_))) if named == claim),
                "{claim}: {value}"
            );
        }
    }
    let no_time = Rejected::Claim("exp".into(), Wrong::Not(TIME.into()));
    for (raw, expected) in [
        ("1e400", no_time.clone()),
        ("-1e400", no_time.clone()),
        ("NaN", Rejected::Claims),
        ("\"1800000060\"", no_time.clone()),
        ("[1800000060]", no_time),
        ("-1800000060", Rejected::Expired),
        ("-0", Rejected::Expired),
        ("1e-400", Rejected::Expired),
    ] {
        let text = format!(r#"{{"sub":"a","roles":["user"],"exp":{raw}}}"#);
        assert_eq!(world.verify(&with_claims(&text)), Err(expected), "{raw}");
    }
    let far = with_claims(r#"{"sub":"a","roles":["user"],"exp":1e308}"#);
    assert_eq!(world.checker.verifier.verify(&far, NOW, &world.checker.keys).unwrap().expires, u64::MAX);
    for odd in [json!(null), json!("x"), json!(-1), json!(4e18), json!([])] {
        let mut all = claims(json!({}));
        (all["iat"], all["jti"], all["scope"]) = (odd.clone(), odd.clone(), odd);
        world.verify(&with_claims(&all.to_string())).unwrap();
    }
    for no_claims in ["", "null", "[]", "7", "\"x\"", "{", "{}{}"] {
        assert_eq!(world.verify(&with_claims(no_claims)), Err(Rejected::Claims), "{no_claims}");
    }
}

#[test]
fn what_is_no_token() {
    let world = world(Some(SECRET));
    let good = with_header(r#"{"alg":"HS256"}"#);
    world.verify(&good).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{good}") };
    for bad in [
        String::new(),
        "..".into(),
        good[1..].into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{}", &signature[..20]),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.+/{}", &signature[2..]),
        format!(" {good}"),
        format!("{good} "),
        format!("{header}.{payload}.\n{signature}"),
        format!("{header}. {payload}.{signature}"),
        format!("{good}\0"),
        format!("ä{good}"),
        format!("{header}.{payload}.ａ"),
        format!("\u{feff}{good}"),
        good.replace('.', "\u{ff0e}"),
        "a.b.c".repeat(2000),
        ".".repeat(8 * 1024),
        ".".repeat(16 * 1024),
        "A".repeat(1024 * 1024),
    ] {
        let refused = world.verify(&bad).unwrap_err();
        let is_none = matches!(refused, Rejected::Malformed(_) | Rejected::TooLong(_) | Rejected::Signature);
        assert!(is_none, "{bad}: {refused:?}");
    }
    let large: Value = claims(json!({"roles": vec!["r"; 3000]}));
    let refused = world.verify(&with_claims(&large.to_string()));
    assert!(matches!(refused, Err(Rejected::TooLong(_))), "too long, though signed");
    let encrypted = format!("{header}.{payload}.{signature}.{payload}.{signature}");
    let said = "the token is malformed: it has five parts, so it is encrypted, and must only be signed";
    assert_eq!(world.verify(&encrypted).unwrap_err().parts(), ("malformed", said.into()));
}
