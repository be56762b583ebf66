//! Who calls, and what they may do: decided before the body is read.

pub mod fetch;
pub mod jwks;
pub mod keys;
pub mod rejected;
mod schedule;
pub mod tokens;
pub mod verify;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use shared::devices::DeviceId;

use self::verify::Caller;
use crate::app::App;
use crate::config::DeviceBinding;
use crate::problem::{About, Code, Problem};
use crate::rate::{Account, Kind};

/// What a token says that its bearer is; other roles are passed over.
pub mod role {
    /// Sends events of devices, reads their resources.
    pub const DEVICE: &str = "device";
    /// Reads every resource.
    pub const USER: &str = "user";
    /// Sends events of, and reads, everything.
    pub const ADMIN: &str = "admin";
}

/// A caller that may send events: of every device, or of those that its token names.
pub struct Writer(Arc<Caller>, Account);

/// A caller that may read resources: every one, or those that its token names.
#[derive(Debug)]
pub struct Reader(Arc<Caller>);

/// A caller that may read what every device ever said: no device may, not even of itself.
#[derive(Debug)]
pub struct HistoryReader;

impl Writer {
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    pub fn charge(&self, events: u32) -> Result<(), Problem> {
        self.1.charge(self.subject(), events)
    }

    /// Refuses another device than the token's.
    pub fn allow(&self, device: &DeviceId) -> Result<(), Problem> {
        allow(&self.0, &[role::ADMIN], device)
    }
}

impl Reader {
    /// Refuses another device than the token's.
    pub fn allow(&self, device: &DeviceId) -> Result<(), Problem> {
        allow(&self.0, &[role::ADMIN, role::USER], device)
    }
}

impl FromRequestParts<App> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = admit(&parts.headers, app, &[role::ADMIN]).await?;
        Ok(Self(caller, app.rates.account(Kind::Events, parts)))
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = admit(&parts.headers, app, &[role::ADMIN, role::USER]).await?;
        app.rates.account(Kind::Reads, parts).charge(&caller.subject, 1)?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<App> for HistoryReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = identify(&parts.headers, app).await?;
        if !caller.has_any(&[role::ADMIN, role::USER]) {
            return Err(no_role());
        }
        app.rates.account(Kind::Reads, parts).charge(&caller.subject, 1)?;
        Ok(Self)
    }
}

async fn identify(headers: &HeaderMap, app: &App) -> Result<Arc<Caller>, Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    app.tokens.check(token(headers)?, now).await
}

fn no_role() -> Problem {
    Problem::new(Code::Forbidden, "the token has none of the roles that this needs")
}

/// Lets in who has one of the roles that are not bound to devices, or is a device.
async fn admit(headers: &HeaderMap, app: &App, unbound: &[&str]) -> Result<Arc<Caller>, Problem> {
    let caller = identify(headers, app).await?;
    if caller.has_any(unbound) {
        return Ok(caller);
    }
    if !caller.has_any(&[role::DEVICE]) {
        return Err(no_role());
    }
    if caller.devices.is_none() && app.device_binding == DeviceBinding::Required {
        return Err(Problem::new(Code::Forbidden, "a device's token must name its devices in the claim device_id"));
    }
    Ok(caller)
}

fn allow(caller: &Caller, unbound: &[&str], device: &DeviceId) -> Result<(), Problem> {
    let bound = !caller.has_any(unbound);
    match &caller.devices {
        Some(devices) if bound && !devices.iter().any(|named| named == device.as_str()) => {
            let about = About { device_id: Some(device.clone()), event_id: None };
            Err(Problem::new(Code::DeviceNotAllowed, "the token does not name this device").logged_about(about))
        }
        _ => Ok(()),
    }
}

/// The bearer token (RFC 6750, section 2.1; the scheme's case does not matter).
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let refused = |detail| Problem::new(Code::InvalidToken, detail);
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next(), all.next());
    let Some(value) = first else { return Err(refused("there is no Authorization header")) };
    if second.is_some() {
        return Err(refused("there is more than one Authorization header"));
    }
    let bearer = value.to_str().ok().and_then(|text| text.split_once(' '));
    match bearer {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(refused("the Authorization header holds no bearer token")),
    }
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
            assert_eq!(token(&headers(bad)).unwrap_err().code, Code::InvalidToken, "{bad:?}");
        }
    }

    fn caller(roles: &[&str], devices: Option<&[&str]>) -> Caller {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Caller { subject: "s".into(), roles: own(roles), devices: devices.map(own) }
    }

    #[test]
    fn a_device_is_bound_to_its_devices_and_nobody_else_is() {
        let (mine, other) = ("mine".parse().unwrap(), "other".parse().unwrap());
        let writer = |caller| Writer(Arc::new(caller), Account::unlimited());
        let reader = |caller| Reader(Arc::new(caller));
        let device = || caller(&["device"], Some(&["mine"]));
        writer(device()).allow(&mine).unwrap();
        reader(device()).allow(&mine).unwrap();
        assert_eq!(writer(device()).allow(&other).unwrap_err().code, Code::DeviceNotAllowed);
        assert_eq!(reader(device()).allow(&other).unwrap_err().code, Code::DeviceNotAllowed);

        let both = || caller(&["device", "user"], Some(&["mine"]));
        reader(both()).allow(&other).unwrap();
        assert!(writer(both()).allow(&other).is_err(), "a user does not write");
        writer(caller(&["device", "admin"], Some(&["mine"]))).allow(&other).unwrap();
        writer(caller(&["device"], None)).allow(&other).unwrap();
        assert!(writer(caller(&["device"], Some(&[]))).allow(&mine).is_err(), "an empty list names none");
    }
}
