//! The scheduler of one partition's records, from arrival until each is applied or a dead letter. Pure: no I/O, no
//! clock.
//!
//! The scheduler decides what to do next, gets the result, and says how far the group may commit. At most one action is
//! under way at a time, so a key's events are processed in the order in which they are stored here: first those in
//! `work`, then in `held`, then in `ready`. While events of a key are in `held`, none of them is in `work`, except one
//! that is tried alone.
//!
//! Four things must never happen: a record is forgotten; an event is tried before an earlier one of its key is applied
//! or a dead letter; an outage causes a dead letter; the watermark passes an unfinished record.

mod backoff;
mod batch;
mod dead_letter_budget;
mod failing;
mod held;
mod held_alone;
mod one_by_one;
mod settings;
mod suspects;
mod task;
#[cfg(test)]
mod tests;
mod turns;
mod watermark;

use std::collections::VecDeque;
use std::time::Duration;

use shared::kafka::{DeadLetter, Delivery, Record, Refusal};
use shared::store::{Class, Failure};
use time::OffsetDateTime;

use self::backoff::OutageBackoff;
pub use self::backoff::retry_delays;
use self::batch::Batch;
use self::dead_letter_budget::DeadLetterBudget;
use self::failing::Failing;
pub use self::failing::{AfterFailure, RETRIES};
use self::held::Held;
pub use self::held::HeldFull;
use self::one_by_one::OneByOne;
pub use self::settings::Settings;
use self::suspects::Suspects;
pub use self::task::Task;
use self::turns::Turns;
use self::watermark::Watermark;

/// How often a transaction that conflicts with another one is tried again at once.
const CONFLICTS: u32 = 3;

/// What to do next.
#[derive(Debug)]
pub enum Action<E> {
    /// Apply these in one transaction, fence, and call [`Scheduler::applied`].
    Apply(Vec<Task<E>>),
    /// There are no other events to try, so find out whether they would be applied now: apply a test event with a
    /// payload of this many bytes, roll it back, and call [`Scheduler::probed`].
    Probe(usize),
    /// Send these, await their acknowledgements, and call [`Scheduler::dead_lettered`].
    DeadLetter(Vec<DeadLetter>),
    /// The dead-letter budget is used up: store the pause, and continue after [`Scheduler::resume`].
    Pause,
    /// Do nothing until this time or, without one, until more records come in.
    Wait(Option<Duration>),
}

/// One partition's state.
#[derive(Debug)]
pub struct Scheduler<E> {
    settings: Settings,
    /// Records that came in and are not begun.
    ready: VecDeque<Task<E>>,
    /// Begun batches, to be tried before anything in `ready`: retries, and the parts of batches that failed.
    work: VecDeque<Vec<Task<E>>>,
    held: Held<E>,
    dead_letters: VecDeque<DeadLetter>,
    failing: Failing,
    suspects_of_outage: Suspects,
    turns: Turns,
    one_by_one: OneByOne,
    watermark: Watermark,
    dead_letter_budget: DeadLetterBudget,
    outage: OutageBackoff,
    conflicts: u32,
    paused: bool,
    /// Records and bytes in `ready`, `work` and `dead_letters`, and those under way.
    records: usize,
    bytes: usize,
    /// How many records are finished: applied, or acknowledged as dead letters.
    finished: u64,
}

impl<E> Scheduler<E> {
    /// An empty scheduler. The seed is for the jitter of its waits.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            ready: VecDeque::new(),
            work: VecDeque::new(),
            held: Held::default(),
            dead_letters: VecDeque::new(),
            failing: Failing::default(),
            suspects_of_outage: Suspects::new(seed),
            turns: Turns::default(),
            one_by_one: OneByOne::default(),
            watermark: Watermark::default(),
            dead_letter_budget: DeadLetterBudget::default(),
            outage: OutageBackoff::new(seed),
            conflicts: 0,
            paused: false,
            records: 0,
            bytes: 0,
            finished: 0,
        }
    }

    /// Whether to take in more records: one batch may be under way while the next one is collected.
    pub fn has_room(&self) -> bool {
        let Settings { batch_records, batch_bytes, .. } = self.settings;
        !self.paused
            && !self.held.is_full(&self.settings)
            && self.records < 2 * batch_records
            && self.bytes < 2 * batch_bytes
    }

    /// Describes the held events if they have reached a bound, so that no more records are taken in.
    pub fn held_full(&self) -> Option<HeldFull> {
        self.held.full(&self.settings)
    }

    /// The bytes of the unfinished records.
    pub fn bytes(&self) -> usize {
        self.bytes + self.held.bytes()
    }

    /// Whether every record that came in is finished.
    pub fn is_empty(&self) -> bool {
        self.watermark.is_whole()
    }

    /// The log continues at an earlier offset because the topic was recreated. Only for a scheduler that
    /// [is empty](Self::is_empty), so that no offset is ambiguous.
    pub fn restart(&mut self) {
        self.watermark = Watermark::default();
    }

    /// A record came in. Offsets increase, not always by one.
    pub fn arrive(&mut self, record: Record, delivery: Result<Delivery<E>, Refusal>) {
        self.watermark.begin(record.offset, record.appended_at());
        match delivery {
            Ok(delivery) => {
                let task = Task { record, delivery, attempts: 0 };
                self.count(&task);
                self.ready.push_back(task);
            }
            Err(Refusal { reason, error }) => {
                self.records += 1;
                self.bytes += record.size();
                self.dead_letters.push_back(DeadLetter { record, reason, error, attempts: 1 });
            }
        }
    }

    /// A record came in that is not for this group: it is finished at once.
    pub fn pass_over(&mut self, record: &Record) {
        self.watermark.begin(record.offset, record.appended_at());
        self.watermark.finish(record.offset);
    }

    /// Every offset before this one was received or holds no record.
    pub fn reach(&mut self, offset: i64) {
        self.watermark.reach(offset);
    }

    /// The next action. Times are durations since a fixed moment that the caller chooses.
    pub fn next(&mut self, now: Duration) -> Action<E> {
        if self.paused {
            return Action::Wait(None);
        }
        if let Some(until) = self.outage.until().filter(|until| now < *until) {
            return Action::Wait(Some(until));
        }
        if !self.dead_letters.is_empty() {
            let letters = self.dead_letter_budget.take(&mut self.dead_letters, &self.settings);
            if letters.is_empty() {
                self.paused = true;
                return Action::Pause;
            }
            return Action::DeadLetter(letters);
        }
        let action = self.choose(now);
        self.turns.begun = now;
        action
    }

    /// The result of [`Action::Apply`]. Returns what happens to a batch that failed.
    pub fn applied(&mut self, batch: Vec<Task<E>>, result: Result<(), Failure>, now: Duration) -> Option<AfterFailure> {
        self.one_by_one.is_back(now, self.turns.cost(now));
        let error = match result {
            Ok(()) => {
                self.store_answered();
                self.turns.of_others = false;
                self.suspects_of_outage.applied(&batch, now);
                self.try_undecided_where_over(now);
                self.failing.applied(&batch);
                for task in batch {
                    self.dead_letter_budget.applied(&task.record, &self.settings);
                    self.finish(task.record.offset, task.size());
                }
                return None;
            }
            Err(error) => error,
        };
        Some(match error.class {
            Class::Again if self.conflicts < CONFLICTS => {
                self.conflicts += 1;
                self.put_back(batch);
                AfterFailure::TriedAgain
            }
            Class::Again | Class::OutageMet => self.meets_outage(batch, error, now),
            Class::Outage => {
                self.put_off(batch, error.reason, now);
                AfterFailure::Waits
            }
            Class::Poison | Class::Failed | Class::Panicked => {
                self.store_answered();
                self.take_apart(batch, error, now)
            }
        })
    }

    /// The result of [`Action::DeadLetter`], for each dead letter. Those that Kafka refused are sent again.
    pub fn dead_lettered(&mut self, sent: Vec<(DeadLetter, Result<(), String>)>, now: Duration) {
        let mut refused = Vec::new();
        let mut why = None;
        for (letter, result) in sent {
            match result {
                // If it was a task, its size was counted as such: `make_dead_letter` has corrected the difference.
                Ok(()) => self.finish(letter.record.offset, letter.record.size()),
                Err(message) => {
                    refused.push(letter);
                    why.get_or_insert(message);
                }
            }
        }
        match why {
            None => self.outage.over(),
            Some(message) => {
                self.dead_letter_budget.came_back(refused.len());
                for letter in refused.into_iter().rev() {
                    self.dead_letters.push_front(letter);
                }
                self.outage.wait(now, format!("cannot write dead letters: {message}"));
            }
        }
    }

    /// The store did not answer a query about the partition: the scheduler waits, as for a batch.
    pub fn store_failed(&mut self, error: Failure, now: Duration) -> Duration {
        self.outage.wait(now, error.reason);
        self.outage.until().unwrap_or(now)
    }

    /// The store answered.
    pub fn store_answered(&mut self) {
        self.outage.over();
        self.conflicts = 0;
    }

    /// The partition waits for an operator.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// An operator resumes the partition, with a new budget.
    pub fn resume(&mut self) {
        self.paused = false;
        self.dead_letter_budget.renew();
    }

    /// Whether the partition waits for an operator.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The offset up to which the group may commit: that of the first unfinished record, or the one after the last
    /// record; `None` before any record came in.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark.get()
    }

    /// The time of the first unfinished record, if there is one and the broker set its time.
    pub fn waiting_since(&self) -> Option<OffsetDateTime> {
        self.watermark.waiting_since()
    }

    /// The offset up to which the partition was read; `None` before any record came in.
    pub fn read_to(&self) -> Option<i64> {
        self.watermark.end
    }

    /// How many records are finished.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Whether there is nothing to do apart from held events.
    pub fn is_idle(&self) -> bool {
        self.records == 0
    }

    /// Why the scheduler waits out an outage, if it does.
    pub fn outage(&self) -> Option<&str> {
        self.outage.message()
    }

    /// How many keys are held.
    pub fn held_keys(&self) -> usize {
        self.held.keys()
    }

    /// How many keys are held because they alone meet an outage error.
    pub fn held_alone(&self) -> usize {
        self.suspects_of_outage.alone().filter(|key| self.held.has(key)).count()
    }

    /// A batch waits out an outage.
    fn put_off(&mut self, batch: Vec<Task<E>>, message: String, now: Duration) {
        self.turns.of_others = false;
        self.put_back(batch);
        self.outage.wait(now, message);
    }

    /// A batch waits out an outage that it met. From the second try of its records on it is split into two halves
    /// instead, because a store may answer but be too slow for the whole batch, or fail on one of its records. The
    /// halves are tried at once, down to a single event. Only the batch that is tried next is halved, so that after the
    /// longest outage there are only a few small batches.
    fn put_off_in_halves(&mut self, mut batch: Vec<Task<E>>, message: String, now: Duration) -> AfterFailure {
        if self.outage.message().is_none() && !self.turns.again {
            self.put_off(batch, message, now);
            return AfterFailure::Waits;
        }
        self.outage.declare(now, message);
        let rest = batch.split_off(batch.len() / 2);
        self.work.push_front(rest);
        self.work.push_front(batch);
        AfterFailure::Split
    }

    /// A held key is due: first the event that failed on its own is tried, then the rest together, before all others.
    fn begin_again(&mut self, mut tasks: VecDeque<Task<E>>) {
        tasks.iter().for_each(|task| self.count(task));
        let first: Vec<_> = tasks.pop_front().into_iter().collect();
        let mut batches = vec![first];
        let mut batch = Batch::default();
        for task in tasks {
            if !batch.has_room(&task, &self.settings) {
                batches.push(std::mem::take(&mut batch).tasks);
            }
            batch.push(task);
        }
        batches.push(batch.tasks);
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()).rev() {
            self.work.push_front(batch);
        }
    }

    /// A record is finished.
    fn finish(&mut self, offset: i64, size: usize) {
        self.watermark.finish(offset);
        self.finished += 1;
        self.release(size);
    }

    fn count(&mut self, task: &Task<E>) {
        self.records += 1;
        self.bytes += task.size();
    }

    fn release(&mut self, size: usize) {
        self.records -= 1;
        self.bytes -= size;
    }
}
