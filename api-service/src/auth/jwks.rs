//! Keeps the published keys up to date.
//!
//! One task reads them, so that nothing is read twice at a time: regularly, when its source has
//! failed, and when a token names a key that is not known, though for that reason at most once in
//! half a minute (see [`unknown`](super::unknown)). The last good set is kept for as long as the
//! source is down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::fetch::{Local, Remote, Stamp, address};
use super::keys::{Keys, Published, parse};
use super::unknown::Unknown;
use crate::config::JwtConfig;

/// How long a request waits for a reading.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a file is looked at.
const POLL: Duration = Duration::from_secs(2);
/// When to come back while the source is away, in seconds.
const AWAY: u32 = 5;
/// The wait after a failure, doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

enum Origin {
    Nowhere,
    Remote(Remote),
    Local(Local),
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// How often it has ended.
    ended: u64,
    /// How it ended last.
    good: bool,
    /// When it last ended well.
    read_at: Option<Instant>,
}

/// What readiness says of the published keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// Whether they could be read, the last time.
    pub up: bool,
    /// Why not.
    pub error: Option<String>,
    /// How long ago they were last read; None: never since the start.
    pub age: Option<Duration>,
}

/// The keys, and where they come from.
pub struct Source {
    keys: ArcSwap<Keys>,
    origin: Origin,
    refresh: Duration,
    progress: watch::Sender<Progress>,
    unknown: Mutex<Unknown>,
    wanted: Notify,
    /// Why they could not be read, the last time.
    error: Mutex<Option<String>>,
}

impl Source {
    /// The keys of these settings: a file is read at once, a URL once [`run`](Self::run) runs.
    ///
    /// # Errors
    /// One clear line where a setting is wrong.
    pub fn new(config: &JwtConfig) -> anyhow::Result<Self> {
        let (origin, published) = match (&config.jwt_jwks_url, &config.jwt_jwks_file) {
            (None, None) => (Origin::Nowhere, Published::Never),
            (Some(url), _) => {
                let url = address(url.expose(), config.jwt_jwks_allow_http)?;
                (Origin::Remote(Remote::new(url)?), Published::NotYet)
            }
            (None, Some(path)) => {
                let local = Local::new(path);
                let read = local.get().and_then(|text| Ok(parse(&text)?));
                let set = read.with_context(|| format!("JWT_JWKS_FILE={}", path.display()))?;
                tell(&set.passed_over);
                (Origin::Local(local), Published::Known(set.keys))
            }
        };
        let secret = config.jwt_secret.as_ref().map(shared::config::Secret::expose);
        // A file was just read.
        let good = matches!(published, Published::Known(_));
        let progress = Progress { ended: 0, good, read_at: good.then(Instant::now) };
        Ok(Self {
            keys: ArcSwap::from_pointee(Keys::new(secret, published)),
            origin,
            refresh: config.jwt_jwks_refresh,
            progress: watch::Sender::new(progress),
            unknown: Mutex::default(),
            wanted: Notify::new(),
            error: Mutex::default(),
        })
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// How the published keys stand; None where no JWKS is configured.
    pub fn freshness(&self) -> Option<Freshness> {
        let Progress { good, read_at, .. } = *self.progress.borrow();
        let age = read_at.map(|at| at.elapsed());
        (!matches!(self.origin, Origin::Nowhere)).then(|| Freshness { up: good, error: self.error().clone(), age })
    }

    fn error(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token needs a key that is not known: looks again, where that is due, and waits for it, or
    /// for what is under way. A key that is not known after that is not published.
    ///
    /// # Errors
    /// It may be, and the token may be good: in how many seconds more is known.
    pub async fn look_again(&self, kid: Option<&str>) -> Result<(), u32> {
        let mut progress = self.progress.subscribe();
        let Progress { ended, good, .. } = *progress.borrow_and_update();
        let now = Instant::now();
        let under_way = {
            let mut unknown = self.unknown();
            if good && !unknown.is_due(now) && unknown.is_refused(kid) {
                return Ok(());
            }
            unknown.come(kid);
            ended == 0 || unknown.reading || unknown.is_due(now)
        };
        self.wanted.notify_one();
        if under_way && timeout(PATIENCE, progress.wait_for(|now| now.ended > ended)).await.is_err() {
            return Err(AWAY);
        }
        if !self.progress.borrow().good {
            return Err(AWAY);
        }
        let unknown = self.unknown();
        if unknown.is_refused(kid) { Ok(()) } else { Err(unknown.later(Instant::now())) }
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the keys again and again, for ever.
    pub async fn run(&self) {
        if !matches!(self.origin, Origin::Nowhere) {
            self.count_keys();
        }
        match &self.origin {
            Origin::Nowhere => {}
            Origin::Remote(remote) => self.follow_remote(remote).await,
            Origin::Local(local) => self.follow_local(local).await,
        }
    }

    async fn follow_remote(&self, remote: &Remote) {
        let mut told = None;
        let mut retry = RETRY.0;
        loop {
            self.begin();
            let good = self.take(remote.get().await, &mut told);
            let pause = if good { self.refresh } else { retry.min(self.refresh) };
            retry = if good { RETRY.0 } else { (retry * 2).min(RETRY.1) };
            self.rest(pause).await;
        }
    }

    async fn follow_local(&self, local: &Local) {
        let mut told = None;
        let mut seen: Option<Stamp> = None;
        loop {
            let file = local.clone();
            let known = seen;
            self.begin();
            let read = tokio::task::spawn_blocking(move || {
                // The stamp first: what is written in between has another one.
                let stamp = file.stamp()?;
                if known == Some(stamp) { Ok((stamp, None)) } else { Ok((stamp, Some(file.get()?))) }
            });
            match read.await.context("not read").flatten() {
                Ok((_, None)) => {
                    // It is what was read already, and was looked at.
                    metrics::gauge!("jwks_last_success_timestamp_seconds").set(unix_seconds());
                    self.ended(true);
                }
                Ok((stamp, Some(text))) => seen = self.take(Ok(text), &mut told).then_some(stamp),
                Err(error) => {
                    seen = None;
                    self.take(Err(error), &mut told);
                }
            }
            self.rest(POLL).await;
        }
    }

    fn begin(&self) {
        self.unknown().begin(Instant::now());
    }

    /// Waits for so long, or until the keys have to be read for a token's sake.
    async fn rest(&self, pause: Duration) {
        let regular = Instant::now() + pause;
        self.unknown().regular = Some(regular);
        let wanted = async {
            loop {
                let at = self.unknown().wanted(Instant::now());
                match at {
                    Some(at) => return sleep_until(at).await,
                    None => self.wanted.notified().await,
                }
            }
        };
        tokio::select! {
            () = sleep_until(regular) => {}
            () = wanted => {}
        }
    }

    /// Takes over what was read, and logs what is new.
    fn take(&self, read: anyhow::Result<Vec<u8>>, told: &mut Option<bool>) -> bool {
        let set = read.and_then(|text| Ok(parse(&text)?));
        *self.error() = set.as_ref().err().map(|error| format!("{error:#}"));
        let good = set.is_ok();
        let news = told.replace(good) != Some(good);
        match set {
            Ok(set) => {
                metrics::gauge!("jwks_last_success_timestamp_seconds").set(unix_seconds());
                let count = set.keys.len();
                let before = self.keys.load();
                if let Some(keys) = before.replaced(set.keys) {
                    tracing::info!(keys = count, generation = keys.generation, "the keys of tokens have changed");
                    tell(&set.passed_over);
                    let withdrawn: Vec<_> = before.names().filter(|kid| !keys.names().any(|now| now == *kid)).collect();
                    withdrawn.into_iter().for_each(|kid| self.unknown().withdrawn(kid));
                    self.keys.store(Arc::new(keys));
                    self.count_keys();
                } else if news {
                    tracing::info!(keys = count, "the keys of tokens are up to date");
                }
            }
            Err(error) if news => {
                let error = format!("{error:#}");
                match self.freshness().and_then(|known| known.age) {
                    Some(age) => {
                        let age_seconds = age.as_secs();
                        tracing::error!(error, age_seconds, "the keys of tokens cannot be read: the last ones count");
                    }
                    None => tracing::error!(error, "the keys of tokens cannot be read, and none was read before"),
                }
            }
            Err(_) => {}
        }
        metrics::gauge!("dependency_up", "dependency" => "JWKS").set(if good { 1.0 } else { 0.0 });
        let outcome = if good { "good" } else { "failed" };
        metrics::counter!("jwks_refreshes_total", "outcome" => outcome).increment(1);
        self.ended(good);
        good
    }

    fn ended(&self, good: bool) {
        self.unknown().end(good, self.keys().names());
        let now = good.then(Instant::now);
        self.progress.send_modify(|progress| {
            *progress = Progress { ended: progress.ended + 1, good, read_at: now.or(progress.read_at) };
        });
    }

    fn count_keys(&self) {
        let count = u32::try_from(self.keys().published()).unwrap_or(u32::MAX);
        metrics::gauge!("jwks_keys").set(f64::from(count));
    }
}

/// Keys are public, and so are their names.
fn tell(passed_over: &[(Option<String>, &'static str)]) {
    for (kid, reason) in passed_over {
        tracing::warn!(kid = kid.as_deref(), reason, "a published key is passed over");
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
