//! Keeps the published keys up to date.
//!
//! One task reads them, so that nothing is read twice at a time: regularly, when its source has
//! failed, and when a token names a key that is not known, though for that reason at most once in
//! half a minute. The last good set is kept for as long as the source is down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::fetch::{Local, Remote, Stamp, address};
use super::keys::{Keys, Published, parse};
use crate::config::JwtConfig;

/// How often an unknown key may be a reason to look again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long a request waits for what that brings.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a file is looked at.
const POLL: Duration = Duration::from_secs(2);
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
}

/// The keys, and where they come from.
pub struct Source {
    keys: ArcSwap<Keys>,
    origin: Origin,
    refresh: Duration,
    progress: watch::Sender<Progress>,
    /// When an unknown key was last a reason to look again, and how often reading had ended then.
    asked: Mutex<Option<(Instant, u64)>>,
    wanted: Notify,
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
        Ok(Self {
            keys: ArcSwap::from_pointee(Keys::new(secret, published)),
            origin,
            refresh: config.jwt_jwks_refresh,
            progress: watch::Sender::default(),
            asked: Mutex::default(),
            wanted: Notify::new(),
        })
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// A token needs a key that is not known: looks again, where that is due, and waits for it, or
    /// for what is under way. Says whether the keys are known to be the published ones; if not,
    /// the token may be good.
    pub async fn look_again(&self) -> bool {
        let mut progress = self.progress.subscribe();
        let ended = progress.borrow_and_update().ended;
        let under_way = ended == 0 || {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            match *asked {
                Some((at, before)) if at.elapsed() < LOOK_AGAIN => before == ended,
                _ => {
                    *asked = Some((Instant::now(), ended));
                    self.wanted.notify_one();
                    true
                }
            }
        };
        if under_way && timeout(PATIENCE, progress.wait_for(|now| now.ended > ended)).await.is_err() {
            return false;
        }
        self.progress.borrow().good
    }

    /// Reads the keys again and again, for ever.
    pub async fn run(&self) {
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
            let good = self.take(remote.get().await, &mut told);
            let pause = if good { self.refresh } else { retry.min(self.refresh) };
            retry = if good { RETRY.0 } else { (retry * 2).min(RETRY.1) };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn follow_local(&self, local: &Local) {
        let mut told = None;
        let mut seen: Option<Stamp> = None;
        loop {
            let file = local.clone();
            let known = seen;
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
            tokio::select! {
                () = sleep(POLL) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Takes over what was read, and logs what is new.
    fn take(&self, read: anyhow::Result<Vec<u8>>, told: &mut Option<bool>) -> bool {
        let set = read.and_then(|text| Ok(parse(&text)?));
        let good = set.is_ok();
        let news = told.replace(good) != Some(good);
        match set {
            Ok(set) => {
                metrics::gauge!("jwks_last_success_timestamp_seconds").set(unix_seconds());
                let count = set.keys.len();
                if let Some(keys) = self.keys.load().replaced(set.keys) {
                    tracing::info!(keys = count, generation = keys.generation, "the keys of tokens have changed");
                    tell(&set.passed_over);
                    self.keys.store(Arc::new(keys));
                } else if news {
                    tracing::info!(keys = count, "the keys of tokens are up to date");
                }
            }
            Err(error) if news => {
                let error = format!("{error:#}");
                tracing::error!(error, "the keys of tokens cannot be read: the last ones count");
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
        self.progress.send_modify(|progress| *progress = Progress { ended: progress.ended + 1, good });
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
