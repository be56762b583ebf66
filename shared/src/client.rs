//! The client of services of ours: what one service asks another, in JSON, over HTTP.
//!
//! A call must be harmless to repeat. It has a deadline, which the called service is told ([`EXPECTED`]); it is tried
//! once more if the service does not answer, or with 502, 503 or 504, within a budget of a tenth of all calls; and a
//! service that fails again and again is not called for a moment. A time-out is not tried again: its time is spent.

mod attempt;
mod budget;
mod deadline;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use self::attempt::{Attempt, Failed};
use self::budget::Budget;
pub use self::deadline::{EXPECTED, expected};
use crate::kafka::Cause;
use crate::runtime::breaker::Breaker;

/// The longest time for a call.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// A service that cannot be reached within this time may be reached at another address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than our services, and load balancers, keep an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The failures in a row after which a service is not called for [`COOLDOWN`].
const THRESHOLD: u32 = 5;
const COOLDOWN: Duration = Duration::from_secs(1);
/// The pause before a call is tried again, in milliseconds.
const PAUSE: std::ops::Range<u64> = 10..50;

/// Makes the token of a call.
pub type Bearer = Box<dyn Fn() -> anyhow::Result<String> + Send + Sync>;

/// A service that is called.
pub struct PeerConfig<'a> {
    /// Its name in metrics and the log.
    pub name: &'static str,
    /// The setting that has its address.
    pub setting: &'static str,
    /// Its address: the paths of calls are below it.
    pub url: &'a str,
    /// The most time for a call, at most [`MAX_TIMEOUT`].
    pub timeout: Duration,
    /// What the calls authenticate with.
    pub bearer: Bearer,
}

/// A service that is called.
pub struct Peer {
    name: &'static str,
    base: String,
    timeout: Duration,
    bearer: Bearer,
    client: Client,
    breaker: Breaker,
    budget: Budget,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The service does not answer, not in time, or cannot work at the moment: try again later.
    #[error("it is not available: {0}")]
    Unavailable(String),
    /// The service refuses this very call, with a 4xx.
    #[error("it refused the call: {status}")]
    Refused {
        /// The status.
        status: u16,
        /// The body.
        body: Bytes,
    },
    /// Something that is no answer: a defect, here or there.
    #[error("it is defective: {0}")]
    Broken(String),
}

impl PeerError {
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused { .. } => "refused",
            Self::Broken(_) => "broken",
        }
    }
}

/// Describes the metrics of a service that is called, and begins them at 0.
pub fn describe(peer: &'static str) {
    describe_counter!("peer_requests_total", "Calls of another service, by service and outcome.");
    describe_counter!("peer_retries_total", "Calls of another service that were tried again, by service.");
    describe_gauge!("peer_breaker_open", "Whether another service is not called because it fails, by service.");
    for outcome in ["answered", "unavailable", "refused", "broken"] {
        counter!("peer_requests_total", "peer" => peer, "outcome" => outcome).increment(0);
    }
    counter!("peer_retries_total", "peer" => peer).increment(0);
    gauge!("peer_breaker_open", "peer" => peer).set(0.0);
}

impl Peer {
    /// Sends no request. An error names the setting of the address.
    pub fn new(config: PeerConfig<'_>) -> anyhow::Result<Self> {
        let PeerConfig { name, setting, url, timeout, bearer } = config;
        let base = address(setting, url)?;
        let client = Client::builder()
            // A redirect would take the token elsewhere.
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT);
        // With http there is nothing to verify, so no certificates are needed.
        let client = if base.scheme() == "https" { client } else { client.tls_certs_only([]) };
        Ok(Self {
            name,
            base: base.as_str().trim_end_matches('/').to_owned(),
            timeout: timeout.min(MAX_TIMEOUT),
            bearer,
            client: client.build().with_context(|| format!("{setting}: cannot create an HTTP client"))?,
            breaker: Breaker::new(THRESHOLD, COOLDOWN),
            budget: Budget::default(),
        })
    }

    /// Sends `body` to a path, which begins with a slash, and reads the answer. It is done before `deadline`, when the
    /// caller's own answer is due.
    pub async fn post<Q, A>(&self, path: &str, body: &Q, cause: &Cause, deadline: Instant) -> Result<A, PeerError>
    where
        Q: Serialize + Sync + ?Sized,
        A: DeserializeOwned,
    {
        let answered = self.answered(path, body, cause, deadline).await;
        let answered = answered.and_then(|answer| {
            serde_json::from_slice(&answer).map_err(|error| PeerError::Broken(format!("it answered {error}")))
        });
        let outcome = answered.as_ref().map_or_else(PeerError::outcome, |_| "answered");
        counter!("peer_requests_total", "peer" => self.name, "outcome" => outcome).increment(1);
        answered
    }

    async fn answered<Q: Serialize + Sync + ?Sized>(
        &self,
        path: &str,
        body: &Q,
        cause: &Cause,
        deadline: Instant,
    ) -> Result<Bytes, PeerError> {
        let broken = |what: &str, error: &dyn std::fmt::Display| PeerError::Broken(format!("{what}: {error}"));
        let body = serde_json::to_vec(body).map_err(|error| broken("the call cannot be written", &error))?;
        let now = Instant::now();
        let Some(due) = deadline::due(deadline, now, self.timeout) else {
            return Err(PeerError::Unavailable("there is no time left for it".to_owned()));
        };
        if !self.breaker.allows() {
            return Err(PeerError::Unavailable("it has failed several times in a row".to_owned()));
        }
        let bearer = (self.bearer)().map_err(|error| broken("there is no token for it", &error))?;
        let url = format!("{}{path}", self.base);
        let attempt = Attempt { client: &self.client, url: &url, bearer: &bearer, body: body.into(), cause, due };
        self.budget.pay_in();
        let mut tried = attempt.send().await;
        if matches!(tried, Err(Failed::Repeatable(_))) && self.budget.take() {
            counter!("peer_retries_total", "peer" => self.name).increment(1);
            sleep(Duration::from_millis(fastrand::u64(PAUSE))).await;
            tried = attempt.send().await;
        }
        match tried {
            Ok(answer) => {
                self.works();
                Ok(answer)
            }
            // It is there, whatever it answers: what fails one call must not stop all others.
            Err(Failed::Answered(error)) => {
                self.works();
                Err(error)
            }
            Err(Failed::Repeatable(why)) => Err(self.fails(why)),
            // A caller in a hurry says nothing about the service.
            Err(Failed::Late(why)) if due - now < self.timeout / 2 => Err(PeerError::Unavailable(why)),
            Err(Failed::Late(why)) => Err(self.fails(why)),
        }
    }

    fn works(&self) {
        let was_open = !self.breaker.is_closed();
        self.breaker.succeeded();
        if was_open {
            tracing::info!(peer = self.name, "the service works again");
            gauge!("peer_breaker_open", "peer" => self.name).set(0.0);
        }
    }

    fn fails(&self, why: String) -> PeerError {
        if self.breaker.failed() {
            tracing::warn!(peer = self.name, error = why, "the service fails: it is not called for a moment");
            gauge!("peer_breaker_open", "peer" => self.name).set(1.0);
        }
        PeerError::Unavailable(why)
    }
}

/// The address of a service.
fn address(setting: &str, url: &str) -> anyhow::Result<Url> {
    // The error does not quote it: it may hold a password.
    let url: Url = url.parse().map_err(|_| anyhow::anyhow!("{setting} is not a URL"))?;
    ensure!(matches!(url.scheme(), "http" | "https"), "{setting} must be a URL with http or https");
    ensure!(url.username().is_empty() && url.password().is_none(), "{setting} must not contain a user or a password");
    ensure!(url.query().is_none() && url.fragment().is_none(), "{setting} must not have a query or a fragment");
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_server_and_perhaps_a_path() {
        for good in ["http://127.0.0.1:8000", "https://services.example/", "http://a.internal:81/b/"] {
            assert!(address("X", good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("services.example", "X is not a URL"),
            ("", "X is not a URL"),
            ("ftp://services.example", "X must be a URL with http or https"),
            ("http://planted:7@services.example", "X must not contain a user or a password"),
            ("http://services.example/?a=b", "X must not have a query or a fragment"),
            ("http://services.example/#a", "X must not have a query or a fragment"),
        ] {
            let said = address("X", bad).unwrap_err().to_string();
            assert!(said.starts_with(why) && !said.contains("planted"), "{bad}: {said}");
        }
    }
}
