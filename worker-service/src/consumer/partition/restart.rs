//! Restarts the runner of a partition that panicked outside of a record's code or that is stuck, without ending the
//! process or another partition. If it panics repeatedly at the same place, health reports that, and the waits grow.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::topic_partition_list::Offset;
use tokio::sync::oneshot;

use super::gaps::Gaps;
use super::{IDLE_INTERVAL, PartitionRunner};
use crate::consumer::group::AssignAnew;
use crate::consumer::handler::Handler;
use crate::observe::panics;

/// The first wait before a restart; each one is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After running for this long, a partition starts with the first wait again.
const RESET_AFTER: Duration = Duration::from_secs(600);
/// This many panics at the same place count as a repeated panic.
const REPEATED_PANICS: u32 = 3;

impl<H: Handler> PartitionRunner<H> {
    /// Runs until it is told to stop. It ends between two effects and restarts from the stored offset, before which
    /// every record is finished; the records that the scheduler held are dropped then.
    pub async fn run(self) {
        let mut gaps = Gaps::new(Arc::clone(&self.group), self.partition);
        self.run_schedulers(&mut gaps).await;
        self.look_for_last_losses(&mut gaps).await;
    }

    async fn run_schedulers(&self, gaps: &mut Gaps) {
        let signals = &self.signals;
        let mut from = self.ask_committed().await;
        let mut panics = Panics::default();
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = panics::caught_async(self.run_scheduler(from, gaps)) => Some(ended),
                () = signals.restart.notified() => None,
            };
            match ended {
                Some(Ok(())) => return,
                Some(Err(panicked)) => {
                    self.note(&panicked);
                    let stored = signals.stored.load(Ordering::Relaxed);
                    let at = if stored < 0 { from } else { Some(stored) };
                    let wait = panics.note(panicked.to_string(), at, began.elapsed());
                    self.aside(|| self.dependencies.health.restarts(self.partition, panics.tell(wait), panics.again()));
                    self.sleep(wait).await;
                }
                None => {
                    signals.restarts.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        group = &*self.group,
                        partition = self.partition,
                        "the partition restarts: it stood still"
                    );
                }
            }
            let Some(at) = self.go_back().await else { return };
            from = at;
        }
    }

    /// Seeks to the first unfinished record; fetched records are dropped. The client cannot seek in a partition that it
    /// does not fetch: then it gets the partition anew. `None` if the runner was told to stop.
    async fn go_back(&self) -> Option<Option<i64>> {
        while !self.stop.is_cancelled() {
            let stored = self.signals.stored.load(Ordering::Relaxed);
            let from = if stored < 0 { self.ask_committed().await } else { Some(stored) };
            let to = from.map_or(Offset::Beginning, Offset::Offset);
            match self.seek(to).await {
                Ok(()) => return Some(from),
                Err(error) => {
                    let why = format!("cannot go back to the stored offset: {error}");
                    self.dependencies.health.waits_to_begin(self.partition, why);
                    self.assign_anew(to).await;
                }
            }
            self.sleep(IDLE_INTERVAL).await;
        }
        None
    }

    /// Waits until the thread that polls has assigned the partition anew, or could not. Without waiting, this runner
    /// could go on meanwhile, and would be set back.
    async fn assign_anew(&self, at: Offset) {
        let (done, tried) = oneshot::channel();
        *self.signals.assign_anew.lock().unwrap_or_else(PoisonError::into_inner) = Some(AssignAnew { at, done });
        self.stop.run_until_cancelled(tried).await;
    }
}

/// The consecutive panics of a runner.
#[derive(Debug, Default)]
struct Panics {
    what: String,
    /// The offset of the first unfinished record at the last panic.
    at: Option<i64>,
    /// How often the same panic occurred there in a row.
    times: u32,
    wait: Duration,
}

impl Panics {
    /// Notes a panic of a runner that ran for `ran`; returns how long to wait.
    fn note(&mut self, what: String, at: Option<i64>, ran: Duration) -> Duration {
        let is_same = self.what == what && self.at == at;
        self.times = if is_same { self.times + 1 } else { 1 };
        (self.what, self.at) = (what, at);
        self.wait = if ran > RESET_AFTER { FIRST_WAIT } else { (2 * self.wait).clamp(FIRST_WAIT, LONGEST_WAIT) };
        self.wait
    }

    fn tell(&self, wait: Duration) -> String {
        let at = self.at.map_or_else(|| "the beginning".to_owned(), |at| format!("offset {at}"));
        let times = if self.times > 1 { format!(", {} times now", self.times) } else { String::new() };
        format!("{} while {at} was the first unfinished record{times}: restarting after {wait:?}", self.what)
    }

    /// If the panic repeats: the offset that the partition must get past for it to be over.
    fn again(&self) -> Option<Option<i64>> {
        (self.times >= REPEATED_PANICS).then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_at_the_same_place_is_told_as_one_that_comes_again_and_again() {
        let mut panics = Panics::default();
        let mut note = |what: &str, at, ran| {
            let wait = panics.note(what.to_owned(), at, Duration::from_secs(ran));
            (wait.as_secs(), panics.again(), panics.tell(wait))
        };
        let (wait, again, told) = note("panicked at a.rs:1:2", Some(7), 5);
        assert_eq!((wait, again), (1, None));
        assert_eq!(told, "panicked at a.rs:1:2 while offset 7 was the first unfinished record: restarting after 1s");
        assert_eq!(note("panicked at a.rs:1:2", Some(7), 5).0, 2);
        let (wait, again, told) = note("panicked at a.rs:1:2", Some(7), 5);
        assert_eq!((wait, again), (4, Some(Some(7))));
        assert!(told.contains(" offset 7 ") && told.contains(", 3 times now: "), "{told}");
        // At another offset, or another panic: the count starts again, but the wait keeps growing.
        assert_eq!((note("panicked at a.rs:1:2", Some(8), 5).0, note("panicked", Some(8), 5).1), (8, None));
        let waits: Vec<_> = (0..4).map(|_| note("panicked", None, 5).0).collect();
        assert_eq!(waits, [32, 60, 60, 60]);
        assert_eq!(note("panicked", None, 601).0, 1, "it was calm for long");
    }
}
