//! The task of the relay: of all workers, the one that holds the lease publishes. The others wait for it to end.
//!
//! The lease only keeps relays from disturbing each other. If two hold it, because one was frozen, Kafka shuts out the
//! earlier one ([`super::producer`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use rdkafka::ClientConfig;
use shared::store::Store;
use shared::store::outbox::relay::{self, RelayRow};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::end::End;
pub use super::term::Published;
use super::term::{Shared, Term};
use crate::observe::panics;
use crate::source::Source;

/// The task's name.
pub const TASK: &str = "outbox-relay";

/// How long a lease is valid, and how often it is renewed: just before an idle term would ask for the third time.
pub const LEASE: Duration = Duration::from_secs(10);
const RENEW_INTERVAL: Duration = PROGRESS_INTERVAL.saturating_mul(4);
/// How often the others ask whether it is free, in milliseconds, at random.
const STANDBY_MILLIS: std::ops::Range<u64> = 1_500..2_500;
/// A term that makes no progress for this long is given up, with its thread: every call of it has a shorter deadline.
const HANG_TIMEOUT: Duration = Duration::from_secs(45);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(715);
/// How long a term may take to end when it is told to: its transaction ends first.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A relay, and what it needs.
#[derive(Clone)]
pub struct Relay {
    /// A pool of its own: the transactions of handlers do not hold it up.
    pub store: Store,
    pub client: ClientConfig,
    /// The stream whose records come from the outbox.
    pub source: Source,
    pub batch_rows: u32,
    pub published: Published,
}

/// A name of a holder: the host, the process, and something that no other term has.
pub fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}:{:08x}", host.trim(), std::process::id(), fastrand::u32(..))
}

impl Relay {
    /// Publishes whenever it has the lease, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        gauge!("outbox_relay_held").set(0.0);
        let mut told = None;
        while !stop.is_cancelled() {
            let holder = holder();
            match relay::hold(&self.store, &holder, LEASE).await {
                Ok(Some(row)) => {
                    told = None;
                    gauge!("outbox_relay_held").set(1.0);
                    let end = self.serve(&holder, row, &stop).await;
                    gauge!("outbox_relay_held").set(0.0);
                    counter!("outbox_terms_total", "reason" => end.reason()).increment(1);
                    match &end {
                        End::Stopped => {}
                        end => tracing::warn!(holder, reason = end.reason(), error = %end, "the relay begins anew"),
                    }
                    if let Err(error) = relay::release(&self.store, &holder).await {
                        tracing::warn!(holder, %error, "the lease of the relay is not given back: it ends by itself");
                    }
                }
                Ok(None) => told = None,
                Err(error) => {
                    if told.as_ref() != Some(&error.reason) {
                        tracing::warn!(%error, "the relay waits for PostgreSQL");
                    }
                    told = Some(error.reason);
                }
            }
            let standby = Duration::from_millis(fastrand::u64(STANDBY_MILLIS));
            stop.run_until_cancelled(tokio::time::sleep(standby)).await;
        }
    }

    /// Runs a term, and renews its lease meanwhile.
    async fn serve(&self, holder: &str, row: RelayRow, stop: &CancellationToken) -> End {
        let (ended, mut end) = oneshot::channel();
        let (shared, stop_term) = (Arc::new(Shared::default()), stop.child_token());
        // However this ends.
        let _guard = stop_term.clone().drop_guard();
        let term = Term {
            runtime: Handle::current(),
            store: self.store.clone(),
            client: self.client.clone(),
            source: self.source.clone(),
            holder: holder.to_owned(),
            row,
            batch_rows: self.batch_rows,
            shared: Arc::clone(&shared),
            published: Arc::clone(&self.published),
            stop: stop_term.clone(),
        };
        let thread = std::thread::Builder::new().name(TASK.into()).spawn(move || {
            let end = panics::caught(|| term.run());
            let _ = ended.send(end.unwrap_or_else(|panicked| {
                panics::tell_of_task(TASK, &panicked);
                End::Panicked(panicked)
            }));
        });
        if let Err(error) = thread {
            return End::Kafka(error.into());
        }
        let why = tokio::select! {
            end = &mut end => return end.unwrap_or(End::Hung),
            why = self.keep(holder, &shared) => why,
            why = hear(&self.store, &shared) => why,
            () = stop.cancelled() => End::Stopped,
        };
        stop_term.cancel();
        match tokio::time::timeout(END_TIMEOUT, end).await {
            Ok(_) => why,
            Err(_) => End::Hung,
        }
    }

    /// Renews the lease until it is lost, or could not be renewed for its whole time, or the term hangs.
    async fn keep(&self, holder: &str, shared: &Shared) -> End {
        let (mut renewed, mut asked) = (Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            if shared.progress.lock().elapsed() > HANG_TIMEOUT {
                return End::Hung;
            }
            if asked.elapsed() < RENEW_INTERVAL {
                continue;
            }
            asked = Instant::now();
            match relay::renew(&self.store, holder, LEASE, shared.after.load(Ordering::Relaxed)).await {
                Ok(Some(is_waiting)) => {
                    renewed = asked;
                    if is_waiting {
                        shared.bell.notify_one();
                    } else {
                        *shared.looked.lock() = Instant::now();
                    }
                }
                Ok(None) => return End::LeaseLost,
                Err(error) if renewed.elapsed() > LEASE => return End::Postgres(error),
                Err(error) => tracing::debug!(holder, %error, "the lease of the relay is not renewed yet"),
            }
        }
    }
}

/// Hands on the rings of the doorbell, forever. Without them the term asks by itself.
async fn hear(store: &Store, shared: &Shared) -> End {
    /// How long to wait before listening again.
    const AGAIN: Duration = Duration::from_secs(5);
    loop {
        match store.listen_outbox().await {
            Ok(None) => return std::future::pending().await,
            Ok(Some(mut bell)) => {
                while bell.rung().await.is_ok() {
                    shared.bell.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, "nothing listens to the outbox's doorbell"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
