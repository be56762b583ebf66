//! Keeps the published keys up to date.
//!
//! One task fetches them, so that there is one fetch at a time: regularly, after a failure, and when a token names an
//! unknown key, but for that reason at most once in half a minute (see [`schedule`](super::schedule)). The last valid
//! set is used as long as its source is down.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use quick_cache::sync::Cache;
use serde::{Serialize, Serializer};
use shared::runtime::config::Secret;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::config::JwtConfig;
use super::fetch::{Local, Remote, Stamp, address};
use super::keys::{Keys, Published, Secrets, parse};
use super::rejected::Rejected;
use super::schedule::Schedule;

/// How long a request waits for a fetch.
const FETCH_WAIT: Duration = Duration::from_secs(2);
/// How often a file is checked for changes.
const POLL: Duration = Duration::from_secs(2);
/// `Retry-After` while the source is down, in seconds.
const AWAY: u32 = 5;
/// How many unknown keys are tracked. An untracked key counts as new; it is never rejected for that.
const MOST_UNKNOWN: usize = 4096;
/// The wait after a failure: doubled from the first value up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

enum Origin {
    Nowhere,
    Remote(Remote),
    Local(Local),
}

/// The state of the published keys, for health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// Whether the last read succeeded.
    #[serde(rename = "status", serialize_with = "up_or_down")]
    pub up: bool,
    /// How long ago they were last read; null: never since the start.
    pub age_seconds: Option<u64>,
    /// The error of the last read. Only on the internal port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

pub(crate) fn up_or_down<S: Serializer>(up: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *up { "up" } else { "down" })
}

pub struct Source {
    keys: ArcSwap<Keys>,
    origin: Origin,
    refresh: Duration,
    schedule: watch::Sender<Schedule>,
    /// When each unknown key was first used, by the hash of its algorithm and `kid`.
    first_uses: Cache<u64, Instant>,
    hasher: RandomState,
}

impl Source {
    /// The keys of these settings. A file is read at once; a URL is fetched once [`run`](Self::run) runs.
    pub fn new(config: &JwtConfig) -> anyhow::Result<Self> {
        let allow_http = config.jwt_jwks_allow_http;
        let (origin, published) = match (&config.jwt_jwks_url, &config.jwt_jwks_file) {
            (None, None) => match config.discovered() {
                None => (Origin::Nowhere, Published::Never),
                Some(issuer) => (Origin::Remote(Remote::discovered(issuer, allow_http)?), Published::NotYet),
            },
            (Some(url), _) => {
                let url = address("JWT_JWKS_URL", url.expose(), allow_http)?;
                (Origin::Remote(Remote::new(url)?), Published::NotYet)
            }
            (None, Some(path)) => {
                let local = Local(path.clone());
                let read = local.get().and_then(|text| Ok(parse(&text)?));
                let set = read.with_context(|| format!("JWT_JWKS_FILE={}", path.display()))?;
                tell(&set.passed_over);
                (Origin::Local(local), Published::Known(set.keys))
            }
        };
        let secrets = [&config.jwt_secret, &config.jwt_secret_previous].into_iter().flatten().map(Secret::expose);
        let secrets = Secrets::new(config.jwt_secret_algorithm.algorithm(), secrets);
        // A file has just been read.
        let fetched = matches!(published, Published::Known(_)).then(Instant::now);
        Ok(Self {
            keys: ArcSwap::from_pointee(Keys::new(secrets, published)),
            origin,
            refresh: config.jwt_jwks_refresh,
            schedule: watch::Sender::new(Schedule { fetched, ..Schedule::default() }),
            first_uses: Cache::new(MOST_UNKNOWN),
            hasher: RandomState::new(),
        })
    }

    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// The state of the published keys; `None` if no JWKS is configured.
    pub fn freshness(&self) -> Option<Freshness> {
        let schedule = self.schedule.borrow();
        let age_seconds = schedule.fetched.map(|at| at.elapsed().as_secs());
        let freshness = || Freshness { up: schedule.is_up(), age_seconds, error: schedule.error.clone() };
        (!matches!(self.origin, Origin::Nowhere)).then(freshness)
    }

    /// For a token with an unknown key: fetches the keys again if that is due, and waits for this fetch or for the one
    /// under way. After `Ok`, a key that is still unknown is not published. After an error it may be published, and the
    /// token may be valid: the error is the number of seconds until a retry.
    pub async fn look_again(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<(), u32> {
        let name = self.hasher.hash_one((algorithm, kid));
        let Ok(first_use) = self.first_uses.get_or_insert_with(&name, || Ok::<_, Infallible>(Instant::now()));
        let mut schedule = self.schedule.subscribe();
        let (ended, waits) = {
            let (schedule, now) = (schedule.borrow(), Instant::now());
            let may_look = schedule.may_look(now);
            if schedule.is_up() && !may_look && schedule.rules_out(first_use) {
                return Ok(());
            }
            (schedule.ended, schedule.ended == 0 || schedule.under_way.is_some() || may_look)
        };
        if waits {
            self.want();
            if timeout(FETCH_WAIT, schedule.wait_for(|now| now.ended > ended)).await.is_err() {
                return Err(AWAY);
            }
        }
        let is_known = !matches!(self.keys().select(algorithm, kid), Err(Rejected::UnknownKey | Rejected::NoKeys));
        let schedule = self.schedule.borrow();
        if !schedule.is_up() {
            return Err(AWAY);
        }
        if is_known || schedule.rules_out(first_use) {
            return Ok(());
        }
        let later = schedule.retry_after(Instant::now());
        drop(schedule);
        self.want();
        Err(later)
    }

    /// Requests a fetch because of an unknown key, unless one is under way: that one may list the key.
    fn want(&self) {
        self.schedule.send_if_modified(|schedule| {
            schedule.under_way.is_none() && !std::mem::replace(&mut schedule.wanted, true)
        });
    }

    pub async fn run(&self) {
        match &self.origin {
            Origin::Nowhere => {}
            Origin::Remote(remote) => self.follow_remote(remote).await,
            Origin::Local(local) => self.follow_local(local).await,
        }
    }

    async fn follow_remote(&self, remote: &Remote) {
        let mut retry = RETRY.0;
        loop {
            self.start();
            let good = self.take(remote.get().await);
            let pause = if good { self.refresh } else { retry.min(self.refresh) };
            retry = if good { RETRY.0 } else { (retry * 2).min(RETRY.1) };
            self.rest(pause).await;
        }
    }

    async fn follow_local(&self, local: &Local) {
        let mut seen: Option<Stamp> = None;
        loop {
            let file = local.clone();
            let known = seen;
            self.start();
            let read = tokio::task::spawn_blocking(move || {
                // The stamp comes first: a write in between changes it.
                let stamp = file.stamp()?;
                if known == Some(stamp) { Ok((stamp, None)) } else { Ok((stamp, Some(file.get()?))) }
            });
            match read.await.context("not read").flatten() {
                Ok((_, None)) => {
                    // The file has not changed since it was read and parsed.
                    metrics::gauge!("jwks_last_success_timestamp_seconds").set(unix_seconds());
                    self.ended(None);
                }
                Ok((stamp, Some(text))) => seen = self.take(Ok(text)).then_some(stamp),
                Err(error) => {
                    seen = None;
                    self.take(Err(error));
                }
            }
            self.rest(POLL).await;
        }
    }

    fn start(&self) {
        self.count_keys();
        self.schedule.send_modify(|schedule| schedule.start(Instant::now()));
    }

    fn ended(&self, error: Option<String>) {
        self.schedule.send_modify(|schedule| schedule.end(error));
    }

    /// Waits for `pause`, or until an unknown key requires a fetch.
    async fn rest(&self, pause: Duration) {
        let regular = Instant::now() + pause;
        self.schedule.send_modify(|schedule| schedule.regular = Some(regular));
        let mut schedule = self.schedule.subscribe();
        let wanted = async {
            let at = schedule.wait_for(|schedule| schedule.wanted).await.ok().and_then(|s| s.wanted_at(Instant::now()));
            sleep_until(at.unwrap_or(regular)).await;
        };
        let _ = timeout_at(regular, wanted).await;
    }

    /// Applies the result of a read, and logs changes.
    fn take(&self, read: anyhow::Result<Vec<u8>>) -> bool {
        let set = read.and_then(|text| Ok(parse(&text)?));
        let error = set.as_ref().err().map(|error| format!("{error:#}"));
        let good = set.is_ok();
        let news = {
            let schedule = self.schedule.borrow();
            schedule.ended == 0 || schedule.error.is_none() != good
        };
        match set {
            Ok(set) => {
                metrics::gauge!("jwks_last_success_timestamp_seconds").set(unix_seconds());
                let count = set.keys.len();
                let before = self.keys.load();
                if let Some(keys) = before.replaced(set.keys) {
                    tracing::info!(keys = count, generation = keys.generation, "the JWKS keys have changed");
                    tell(&set.passed_over);
                    // Keys that this fetch no longer lists count as first used at its start, so that it rules them out.
                    let started = self.schedule.borrow().under_way.unwrap_or_else(Instant::now);
                    for name in before.names().filter(|name| !keys.names().any(|now| now == *name)) {
                        self.first_uses.insert(self.hasher.hash_one(name), started);
                    }
                    self.keys.store(Arc::new(keys));
                    self.count_keys();
                } else if news {
                    tracing::info!(keys = count, "the JWKS keys are up to date");
                }
            }
            Err(_) if news => match self.freshness().and_then(|known| known.age_seconds) {
                Some(age_seconds) => {
                    tracing::error!(error, age_seconds, "cannot read the JWKS: using the last known keys")
                }
                None => tracing::error!(error, "cannot read the JWKS: no key is known yet"),
            },
            Err(_) => {}
        }
        metrics::gauge!("dependency_up", "dependency" => "JWKS").set(if good { 1.0 } else { 0.0 });
        let outcome = if good { "good" } else { "failed" };
        metrics::counter!("jwks_refreshes_total", "outcome" => outcome).increment(1);
        self.ended(error);
        good
    }

    fn count_keys(&self) {
        let count = u32::try_from(self.keys().published()).unwrap_or(u32::MAX);
        metrics::gauge!("jwks_keys").set(f64::from(count));
    }
}

/// Logs each ignored key. Keys are public, and so are their names.
fn tell(passed_over: &[(Option<String>, &'static str)]) {
    for (kid, reason) in passed_over {
        tracing::warn!(kid = kid.as_deref(), reason, "ignoring a published key");
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
