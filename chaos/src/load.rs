//! Devices that send and readers that poll, and what they saw.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::history::{Commit, History, Read, Sent};
use crate::world::World;

/// Devices that send.
pub const DEVICES: usize = 24;
/// Readers that poll them.
const READERS: usize = 4;
/// A request that takes longer has failed, for the client.
const PATIENCE: Duration = Duration::from_secs(8);
/// Of so many events one is sent again although it was acknowledged.
const DUPLICATES: usize = 15;

/// What runs against the world, and writes the history.
pub struct Load {
    /// The history so far.
    pub history: Arc<Mutex<History>>,
    /// Events acknowledged, repeats, refusals, reads: for the progress line.
    pub counts: Arc<Counts>,
    began: Instant,
    stop: Arc<AtomicBool>,
    sending: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

/// Figures of a run.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events answered 202.
    pub accepted: AtomicU64,
    /// Events sent again although they had been.
    pub duplicates: AtomicU64,
    /// Posts that failed, or were answered otherwise.
    pub failed: AtomicU64,
    /// Reads answered.
    pub reads: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What each task has at hand.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    world: Arc<World>,
    history: Arc<Mutex<History>>,
    counts: Arc<Counts>,
    began: Instant,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Begins.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn start(world: &Arc<World>, seed: u64) -> anyhow::Result<Load> {
        let client = Client {
            http: reqwest::Client::builder().timeout(PATIENCE).build()?,
            world: Arc::clone(world),
            history: Arc::new(Mutex::new(History { ttl: crate::world::TTL, ..History::default() })),
            counts: Arc::default(),
            began: Instant::now(),
            stop: Arc::default(),
        };
        let random = |n: usize| fastrand::Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(n as u64));
        let sending =
            (0..DEVICES).map(|n| tokio::spawn(client.clone().send(format!("device-{n}"), random(n)))).collect();
        let mut others: Vec<_> = (0..READERS).map(|n| tokio::spawn(client.clone().read(random(DEVICES + n)))).collect();
        others.push(tokio::spawn(client.clone().watch_commits()));
        let Client { history, counts, began, stop, .. } = client;
        Ok(Load { history, counts, began, stop, sending, others })
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets devices send what they have begun, and ends.
    pub async fn end(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.sending.into_iter().chain(self.others) {
            let _ = task.await;
        }
        lock(&self.history).clone()
    }
}

impl Client {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn send(self, device: String, mut random: fastrand::Rng) {
        let mut n = 0_usize;
        while !self.stopped() {
            n += 1;
            let event = json!({"device_id": device, "event_id": n.to_string(), "payload": {"n": n}});
            let sent = Sent { id: n.to_string(), at: self.began.elapsed(), acknowledged: None, times: 1 };
            lock(&self.history).sent.entry(device.clone()).or_default().push(sent);
            // The same event until it is acknowledged, at whichever API answers.
            while !self.post(&event, &mut random).await {
                if self.stopped() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
                self.again(&device, n);
            }
            Counts::add(&self.counts.accepted);
            let at = self.began.elapsed();
            if let Some(sent) = lock(&self.history).sent.get_mut(&device).and_then(|all| all.last_mut()) {
                sent.acknowledged = Some(at);
            }
            if random.usize(..DUPLICATES) == 0 {
                let earlier = random.usize(1..=n);
                self.again(&device, earlier);
                let again = json!({"device_id": device, "event_id": earlier.to_string(), "payload": {"n": earlier}});
                self.post(&again, &mut random).await;
                Counts::add(&self.counts.duplicates);
            }
            tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
        }
    }

    /// Notes that an event is sent again.
    fn again(&self, device: &str, n: usize) {
        let mut history = lock(&self.history);
        if let Some(sent) = history.sent.get_mut(device).and_then(|all| all.get_mut(n.checked_sub(1)?)) {
            sent.times += 1;
        }
    }

    async fn post(&self, event: &Value, random: &mut fastrand::Rng) -> bool {
        let url = random.choice(&self.world.urls).map(String::as_str).unwrap_or_default();
        let request = self.http.post(format!("{url}/events")).bearer_auth(&self.world.token).json(event);
        let accepted = request.send().await.is_ok_and(|response| response.status().as_u16() == 202);
        if !accepted {
            Counts::add(&self.counts.failed);
        }
        accepted
    }

    async fn read(self, mut random: fastrand::Rng) {
        while !self.stopped() {
            let device = format!("device-{}", random.usize(..DEVICES));
            let url = random.choice(&self.world.urls).map(String::as_str).unwrap_or_default();
            let from = self.began.elapsed();
            let request = self.http.get(format!("{url}/resource/{device}")).bearer_auth(&self.world.token);
            if let Some(version) = version(request.send().await).await {
                let read = Read { device, from, to: self.began.elapsed(), version };
                lock(&self.history).reads.push(read);
                Counts::add(&self.counts.reads);
            }
            tokio::time::sleep(Duration::from_millis(random.u64(5..30))).await;
        }
    }

    /// Notes how far the group has committed: what was committed before has been fenced before.
    async fn watch_commits(self) {
        while !self.stopped() {
            let scope = self.world.scope.clone();
            let asked = tokio::task::spawn_blocking(move || {
                devstack::committed(&scope.endpoints.kafka_brokers, &scope.input_topic, &scope.group)
            });
            if let Ok(Ok(committed)) = asked.await {
                let at = self.began.elapsed();
                let offsets = committed.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect();
                lock(&self.history).commits.push(Commit { at, offsets });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The version that was read; none where there was no such answer.
async fn version(answer: reqwest::Result<reqwest::Response>) -> Option<i64> {
    let answer = answer.ok()?;
    match answer.status().as_u16() {
        200 => shared::cache::version(&answer.bytes().await.ok()?),
        404 => Some(0),
        _ => None,
    }
}

/// The history, whatever became of whoever held it.
pub fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
