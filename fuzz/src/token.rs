//! Tokens: arbitrary bytes, and arbitrary headers and claims with a valid signature.

use std::sync::OnceLock;

use api_service::auth::keys::{Keys, Published, Secrets, parse};
use api_service::auth::rejected::Rejected;
use api_service::auth::verify::{Verified, Verifier};
use api_service::auth::{ClaimPath, ClaimsConfig, Declared, List};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::Algorithm;
use serde_json::Value;

const SECRET: &str = "a secret that everybody may know";
/// Public keys whose private keys were deleted.
const JWKS: &[u8] = include_bytes!("../jwks.json");
const NOW: u64 = 1_800_000_000;

struct World {
    verifier: Verifier,
    keys: Keys,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let config = ClaimsConfig {
            jwt_issuer: Some("us".to_owned()),
            jwt_audience: Some(List::one("api".to_owned())),
            jwt_roles_claim: "roles,/realm_access/roles".parse().expect("two places"),
            ..ClaimsConfig::default()
        };
        let bindings = vec![("device_id", List::one(ClaimPath::named("device_id")))];
        let declared = Declared { roles: vec!["device", "user", "admin"], bindings };
        let verifier = Verifier::new(&config, declared).expect("no role is mapped");
        let set = parse(JWKS).expect("the corpus's keys are good");
        World { verifier, keys: Keys::new(Secrets::new(Algorithm::HS256, [SECRET]), Published::Known(set.keys)) }
    })
}

fn verify(token: &str) -> Result<Verified, Rejected> {
    let World { verifier, keys } = world();
    verifier.verify(token, NOW, keys)
}

/// Verifies the input as a token, then as the header and the claims (two lines) of a token signed with our
/// secret; also parses it as a JWKS.
pub fn token(input: &[u8]) {
    let _ = parse(input);
    if let Ok(token) = std::str::from_utf8(input)
        && let Ok(verified) = verify(token)
    {
        let (message, signature) = token.rsplit_once('.').expect("a token has three parts");
        assert_eq!(BASE64.decode(signature).expect("base64url"), sign(message), "forged");
        check(token, &verified);
    }
    let (header, claims) = match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (input.get(..end).unwrap_or_default(), input.get(end + 1..).unwrap_or_default()),
        None => (&b"{\"alg\":\"HS256\"}"[..], input),
    };
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let token = format!("{message}.{}", BASE64.encode(sign(&message)));
    let verified = verify(&token);
    if let Ok(verified) = &verified {
        check(&token, verified);
    }
    // A token that follows the rules is not refused.
    if header == b"{\"alg\":\"HS256\"}"
        && let Ok(claims) = serde_json::from_slice::<Value>(claims)
        && claims.to_string().len() < 2048
    {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims.to_string()));
        let token = format!("{message}.{}", BASE64.encode(sign(&message)));
        assert_eq!(verify(&token).is_ok(), is_good(&claims), "{claims}");
    }
}

fn sign(message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes()).as_ref().to_vec()
}

fn check(token: &str, verified: &Verified) {
    assert!(token.len() <= 15_000);
    let part = |nth| BASE64.decode(token.split('.').nth(nth).unwrap_or_default()).expect("base64url");
    let header: Value = serde_json::from_slice(&part(0)).expect("a header");
    assert_eq!(header.get("alg"), Some(&"HS256".into()), "nobody has another key");
    assert!(header.get("crit").is_none_or(Value::is_null));
    let claims: Value = serde_json::from_slice(&part(1)).expect("claims");
    assert!(is_good(&claims), "{claims}");
    assert_eq!(claims.get("sub").and_then(Value::as_str), Some(verified.caller.subject.as_str()));
    assert_eq!(present(&claims, "device_id").is_some(), verified.caller.bound_to("device_id").is_some());
}

/// A claim that is null is absent.
fn present<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

fn is_good(claims: &Value) -> bool {
    let strings = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    let one_or_many = |value: &Value| value.is_string() || strings(value);
    // What holds something has to be an object; a list has no member of this name.
    let nested = match present(claims, "realm_access") {
        Some(Value::Object(realm)) => realm.get("roles").is_none_or(|roles| roles.is_null() || one_or_many(roles)),
        found => found.is_none(),
    };
    let number = |name: &str| present(claims, name).map(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let now = NOW as f64;
    claims.is_object()
        && number("exp").flatten().is_some_and(|exp| exp > now - 30.0)
        && number("nbf").is_none_or(|nbf| nbf.is_some_and(|nbf| nbf <= now + 30.0))
        && nested
        && claims.get("iss").is_some_and(|iss| iss == "us")
        && claims.get("aud").is_some_and(|aud| {
            aud == "api" || strings(aud) && aud.as_array().is_some_and(|all| all.iter().any(|one| one == "api"))
        })
        && claims
            .get("sub")
            .and_then(Value::as_str)
            .is_some_and(|sub| (1..=256).contains(&sub.len()) && !sub.chars().any(char::is_control))
        && present(claims, "roles").is_none_or(one_or_many)
        && present(claims, "device_id").is_none_or(one_or_many)
}
