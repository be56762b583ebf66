//! Tokens as the API accepts them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    roles: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<Devices<'a>>,
    iat: u64,
    exp: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Devices<'a> {
    One(&'a str),
    Many(&'a [&'a str]),
}

/// A JWT signed with HS256: claims `sub`, `roles`, `iat`, `exp`, and `device_id` where devices are
/// named (one: a string; several: a list).
pub fn hs256(
    secret: &str,
    subject: &str,
    roles: &[&str],
    devices: &[&str],
    lifetime: Duration,
) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let claims = Claims {
        sub: subject,
        roles,
        device_id: match devices {
            [] => None,
            [one] => Some(Devices::One(one)),
            many => Some(Devices::Many(many)),
        },
        iat: now.as_secs(),
        exp: now.saturating_add(lifetime).as_secs(),
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).context("cannot sign the token")
}
