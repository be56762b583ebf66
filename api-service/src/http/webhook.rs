//! The handshake of CloudEvents' webhooks: before a sender such as Azure Event Grid delivers events, it asks with
//! `OPTIONS` whether it may ("Abuse Protection" in CloudEvents' HTTP 1.1 Web Hooks for Event Delivery, version 1.0).
//! The handshake grants no rights: each delivery needs its token.

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::problem::{Code, Problem};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");
/// The longest DNS name.
const LONGEST: usize = 253;
const ANY: HeaderValue = HeaderValue::from_static("*");

/// The senders of `WEBHOOK_ALLOWED_ORIGINS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Senders {
    Any,
    Named(Vec<String>),
}

impl FromStr for Senders {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let names = text.split(',').map(str::trim).map(|name| {
            let wrong =
                || format!("{name:?} is not a sender's name, such as eventgrid.azure.net; `*` alone allows all");
            if is_name(name.as_bytes()) { Ok(name.to_owned()) } else { Err(wrong()) }
        });
        names.collect::<Result<_, _>>().map(Self::Named)
    }
}

/// "A DNS name expression that identifies the sending system". Senders on a port of their own exist.
fn is_name(text: &[u8]) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
}

impl Senders {
    /// The value of `WebHook-Allowed-Origin` for this request; `None` if its sender is not allowed.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut values = headers.get_all(REQUEST_ORIGIN).iter();
        let (Some(given), None) = (values.next(), values.next()) else { return None };
        let name = given.to_str().ok().filter(|name| is_name(name.as_bytes()))?;
        match self {
            Self::Any => Some(ANY),
            Self::Named(names) if names.iter().any(|known| known.eq_ignore_ascii_case(name)) => Some(given.clone()),
            Self::Named(_) => {
                tracing::info!(sender = name, "a webhook's sender is not in WEBHOOK_ALLOWED_ORIGINS");
                None
            }
        }
    }
}

struct Handshake {
    senders: Senders,
    paths: Vec<&'static str>,
    rate: HeaderValue,
}

/// These routes, with the handshake on `paths`. `per_second` limits the events of a sender; 0: no limit. To be called
/// behind CORS, which answers every other `OPTIONS`.
pub fn answered(routes: Router, senders: &Senders, paths: &[&'static str], per_second: u32) -> Router {
    // In requests a minute, each of which has an event at least.
    let rate = if per_second == 0 { ANY } else { HeaderValue::from(u64::from(per_second) * 60) };
    let handshake = Handshake { senders: senders.clone(), paths: paths.to_vec(), rate };
    routes.layer(from_fn_with_state(Arc::new(handshake), answer))
}

/// Answers at once, so that `WebHook-Request-Callback`, an address to grant the same later, is never called.
async fn answer(State(handshake): State<Arc<Handshake>>, request: Request, next: Next) -> Response {
    let is_ours = |path: &MatchedPath| handshake.paths.contains(&path.as_str());
    let is_handshake = request.method() == Method::OPTIONS
        && request.headers().contains_key(REQUEST_ORIGIN)
        && request.extensions().get().is_some_and(is_ours);
    if !is_handshake {
        return next.run(request).await;
    }
    match handshake.senders.allowed(request.headers()) {
        Some(origin) => {
            let mut answer = ().into_response();
            answer.headers_mut().insert(ALLOWED_ORIGIN, origin);
            answer.headers_mut().insert(ALLOWED_RATE, handshake.rate.clone());
            answer
        }
        // As if there were no OPTIONS, as the specification asks for. The router adds `Allow` to both.
        None => Problem::new(Code::METHOD_NOT_ALLOWED, "this sender of webhooks is not allowed").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_dns_names_or_all() {
        assert_eq!("*".parse(), Ok(Senders::Any));
        let two = Senders::Named(vec!["eventgrid.azure.net".to_owned(), "a:8080".to_owned()]);
        assert_eq!("eventgrid.azure.net , a:8080".parse(), Ok(two));
        for wrong in ["", "a,", "*,a", "*.example", "https://a", "a b", &"x".repeat(254)] {
            let said = wrong.parse::<Senders>().unwrap_err();
            assert!(said.contains("is not a sender's name, such as eventgrid.azure.net"), "{wrong}: {said}");
        }
    }

    #[test]
    fn a_sender_is_named_in_any_case_and_once() {
        let senders: Senders = "eventgrid.azure.net".parse().unwrap();
        let allowed = |senders: &Senders, given: &[&str]| {
            let headers = given.iter().map(|value| (REQUEST_ORIGIN, HeaderValue::try_from(*value).unwrap()));
            let allowed = senders.allowed(&headers.collect());
            allowed.map(|value| value.to_str().unwrap().to_owned())
        };
        for name in ["eventgrid.azure.net", "EventGrid.Azure.Net"] {
            assert_eq!(allowed(&senders, &[name]).as_deref(), Some(name));
            assert_eq!(allowed(&Senders::Any, &[name]).as_deref(), Some("*"));
        }
        for given in
            [&[][..], &["azure.net"], &["x.eventgrid.azure.net"], &["eventgrid.azure.net", "other"], &["*"], &[""]]
        {
            assert_eq!(allowed(&senders, given), None, "{given:?}");
        }
        assert_eq!(allowed(&Senders::Any, &["a b"]), None);
    }
}
