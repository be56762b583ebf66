//! The rate limits of a request, and the headers about them in its response.

mod config;
mod limiter;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

pub use self::config::RateConfig;
use self::limiter::{Limiter, Refused, Standing};
use super::problem::{Code, Problem};

#[derive(Clone)]
pub struct Rates {
    events: Option<Arc<Limiter>>,
    reads: Option<Arc<Limiter>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Events,
    Reads,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Events, Self::Reads];

    /// The name of its policy, in headers and metrics.
    pub const fn policy(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Reads => "reads",
        }
    }
}

impl Rates {
    pub fn new(config: &RateConfig) -> Self {
        let limiter = |kind: Kind, per_second, burst: Option<u32>| {
            Limiter::new(kind.policy(), per_second, config::burst(per_second, burst)).map(Arc::new)
        };
        Self {
            events: limiter(Kind::Events, config.rate_limit_events_per_second, config.rate_limit_burst),
            reads: limiter(Kind::Reads, config.rate_limit_reads_per_second, config.rate_limit_read_burst),
        }
    }

    pub fn any(&self) -> bool {
        self.events.is_some() || self.reads.is_some()
    }

    fn of(&self, kind: Kind) -> Option<&Limiter> {
        match kind {
            Kind::Events => self.events.as_deref(),
            Kind::Reads => self.reads.as_deref(),
        }
    }

    /// Gives back `count` that the request was charged for, and did not get.
    pub fn refund(&self, kind: Kind, parts: &Parts, subject: &str, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if let (Some(limiter), Some(Slot(slot)), 1..) = (self.of(kind), parts.extensions.get(), count)
            && let Some(standing) = &mut *slot.lock().unwrap_or_else(PoisonError::into_inner)
        {
            *standing = limiter.refund(subject, count, *standing);
        }
    }

    /// Takes `count` from the subject's bucket, or nothing: 429, or 413 if it is more than a full bucket has.
    pub fn charge(&self, kind: Kind, parts: &Parts, subject: &str, count: u32) -> Result<(), Problem> {
        let limiter = self.of(kind);
        let (Some(limiter), Some(count)) = (limiter, NonZeroU32::new(count)) else { return Ok(()) };
        let charged = limiter.charge(subject, count);
        let (Ok(standing) | Err(Refused::Until(_, standing) | Refused::Never(standing))) = charged;
        if let Some(Slot(slot)) = parts.extensions.get() {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
        }
        let Standing { policy, quota, remaining, .. } = standing;
        match charged {
            Ok(_) => Ok(()),
            Err(Refused::Until(seconds, _)) => {
                metrics::counter!("rate_limited_total", "policy" => policy).increment(1);
                let detail =
                    format!("the request needs {count} {policy}, and this subject has {remaining} of {quota} left");
                Err(Problem::new(Code::RATE_LIMITED, detail).retry_after(u32::try_from(seconds).unwrap_or(u32::MAX)))
            }
            Err(Refused::Never(_)) => {
                let (code, verb) = match kind {
                    Kind::Events => (Code::TOO_MANY_EVENTS, "send"),
                    Kind::Reads => (Code::TOO_MANY_IDS, "ask for"),
                };
                let detail =
                    format!("a subject may {verb} up to {quota} {policy} at once, and the request has {count}");
                Err(Problem::new(code, detail))
            }
        }
    }
}

/// Passes the state of the bucket from the handler to the response.
#[derive(Debug, Clone, Default)]
struct Slot(Arc<Mutex<Option<Standing>>>);

/// The middleware that writes the `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers, as structured fields).
pub async fn announce(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    let standing = slot.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(standing) = standing {
        write(response.headers_mut(), standing);
    }
    response
}

fn write(headers: &mut HeaderMap, standing: Standing) {
    let Standing { policy, quota, window, remaining, reset, .. } = standing;
    let mut put = |name, text: String| {
        // A policy's name and numbers always make a valid header value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    put("ratelimit-policy", format!(r#""{policy}";q={quota};w={window}"#));
    put("ratelimit", format!(r#""{policy}";r={remaining};t={reset}"#));
}
