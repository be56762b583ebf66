//! Devices that send events and readers that poll resources, and the same for advertising and for placements; all record
//! their observations in the history.

pub mod advertiser;
mod device;
mod editor;
mod reader;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use self::device::Device;
use self::editor::Board;
use crate::faults;
use crate::history::History;
use crate::history::ads::Ads;
use crate::plan::Plan;
use crate::world::World;

pub const DEVICES: usize = 24;
const READERS: usize = 6;
/// The client timeout of half the readers: they give up and read another resource, so that cache hits are
/// read even while misses wait for PostgreSQL.
const SHORT_CLIENT_TIMEOUT: Duration = Duration::from_millis(500);
/// The client timeout of the devices and of the other readers.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(8);

/// The running devices and readers, and the history that they write.
pub struct Load {
    pub history: Arc<Mutex<History>>,
    /// For the progress line and the report.
    pub counts: Arc<Counts>,
    began: Instant,
    sending: Tasks,
    watching: Tasks,
    /// Asks at the end, when nobody sends any more.
    prober: Client,
    random: fastrand::Rng,
}

#[derive(Default)]
struct Tasks {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

/// Counts that the history does not contain.
#[derive(Debug, Default)]
pub struct Counts {
    pub accepted: AtomicUsize,
    /// Batch posts.
    pub batches: AtomicUsize,
    /// Of these, the ones answered 207: only some of their events were accepted.
    pub partial: AtomicUsize,
    /// Events sent again although they had been acknowledged.
    pub duplicates: AtomicUsize,
    /// Posts with a status other than 202 and 207, or without an answer.
    pub failed: AtomicUsize,
    pub reads: AtomicUsize,
    /// Ad events, counted again if they are accepted again.
    pub ads_accepted: AtomicUsize,
    /// Ad events sent again although they had been accepted.
    pub ads_repeated: AtomicUsize,
    /// Changes of campaigns that were tried.
    pub patches: AtomicUsize,
    pub reports: AtomicUsize,
    /// Commands that were answered 2xx.
    pub commands: AtomicUsize,
    /// Tries of commands whose answer is not certain.
    pub commands_failed: AtomicUsize,
    /// Reads of videos and their files.
    pub placement_reads: AtomicUsize,
}

fn count(counter: &AtomicUsize, by: usize) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    world: Arc<World>,
    history: Arc<Mutex<History>>,
    counts: Arc<Counts>,
    board: Arc<Mutex<Board>>,
    began: Instant,
    pace: u32,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub fn start(world: &Arc<World>, plan: &Plan) -> anyhow::Result<Load> {
        let (mut sending, mut watching) = (Tasks::default(), Tasks::default());
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let ads = Ads { began: i64::try_from(now.as_micros())?, ..Ads::default() };
        let sender = Client {
            http: reqwest::Client::builder().timeout(CLIENT_TIMEOUT).build()?,
            world: Arc::clone(world),
            history: Arc::new(Mutex::new(History { bounds: faults::BOUNDS, ads, ..History::default() })),
            counts: Arc::default(),
            board: Arc::default(),
            began: Instant::now(),
            pace: plan.pace,
            stop: Arc::clone(&sending.stop),
        };
        let watcher = Client { stop: Arc::clone(&watching.stop), ..sender.clone() };
        let random = |n: usize| fastrand::Rng::with_seed(plan.seed.wrapping_mul(1_000).wrapping_add(n as u64));
        for n in 0..DEVICES {
            sending.spawn(sender.clone().send(Device::new(n), random(n)));
        }
        for n in DEVICES..DEVICES + READERS {
            let timeout = if n % 2 == 0 { CLIENT_TIMEOUT } else { SHORT_CLIENT_TIMEOUT };
            watching.spawn(watcher.clone().read(timeout, random(n)));
        }
        watching.spawn(watcher.clone().watch_commits());
        let first = DEVICES + READERS;
        sending.spawn(sender.clone().advertise(random(first)));
        for n in 0..advertiser::TRACKERS {
            sending.spawn(sender.clone().track(n, random(first + 1 + n)));
        }
        for n in 0..advertiser::READERS {
            watching.spawn(watcher.clone().read_reports(random(first + 1 + advertiser::TRACKERS + n)));
        }
        watching.spawn(watcher.clone().watch_books());
        watching.spawn(watcher.clone().watch_ad_commits());
        let first = first + 1 + advertiser::TRACKERS + advertiser::READERS;
        for n in 0..editor::EDITORS {
            sending.spawn(sender.clone().edit(n, random(first + n)));
        }
        let first = first + editor::EDITORS;
        sending.spawn(sender.clone().end_campaigns(random(first)));
        for n in 0..editor::READERS {
            watching.spawn(watcher.clone().read_placements(random(first + 1 + n)));
        }
        let Client { history, counts, began, .. } = sender;
        Ok(Load { history, counts, began, sending, watching, prober: watcher, random: random(usize::MAX) })
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Stops the devices; the readers continue.
    pub async fn end_sending(&mut self) -> anyhow::Result<()> {
        std::mem::take(&mut self.sending).end().await
    }

    /// Once all was quiet for long enough: reads the books, and posts one event more for each campaign.
    pub async fn probe(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.prober.note_books(true).await, "the books cannot be read");
        self.prober.probe_all(self.random.clone()).await;
        Ok(())
    }

    pub async fn end(mut self) -> anyhow::Result<History> {
        self.end_sending().await?;
        self.watching.end().await?;
        Ok(lock(&self.history).clone())
    }
}

impl Client {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A random pause from a range of milliseconds, times the pace of the run.
    fn pause(&self, random: &mut fastrand::Rng, millis: Range<u64>) -> Duration {
        Duration::from_millis(random.u64(millis)) * self.pace
    }

    fn url(&self, random: &mut fastrand::Rng) -> &str {
        random.choice(&self.world.urls).map(String::as_str).unwrap_or_default()
    }
}

/// Locks the mutex, also if a thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
