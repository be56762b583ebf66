//! A scheduler: one partition's records on their way to their effect. Pure: no I/O, no clock.
//!
//! The scheduler decides what to do next, is told how it went, and says how far the group may commit.
//! At most one thing is under way at a time, so that the order of a key is the order in which
//! its events stand here: in `work`, then in `held`, then in `ready`. While anything of a key is in `held`,
//! nothing of it is in `work`, but the one event that is being tried alone.
//!
//! What may never happen here: a record is forgotten; an event of a key is tried before an
//! earlier one of it is applied or a dead letter; an outage becomes a dead letter; the watermark
//! passes a record that has had no effect yet.

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

/// Transactions that met another one are tried again this often at once.
const CONFLICTS: u32 = 3;

/// What to do next.
#[derive(Debug)]
pub enum Action<E> {
    /// Apply these in one transaction, fence, and say so to [`Scheduler::applied`].
    Apply(Vec<Task<E>>),
    /// Find out whether others would be applied now, where there are none to try: apply an event that nobody sent, with
    /// a payload of so many bytes, take it back, and say so to [`Scheduler::probed`].
    Probe(usize),
    /// Send these, await their acknowledgement, and say so to [`Scheduler::dead_lettered`].
    DeadLetter(Vec<DeadLetter>),
    /// The budget of dead letters is used up: write that down; go on after [`Scheduler::resume`].
    Pause,
    /// Nothing before this time, or, without one, before more comes in.
    Wait(Option<Duration>),
}

/// One partition's state.
#[derive(Debug)]
pub struct Scheduler<E> {
    settings: Settings,
    /// Came in, and not begun.
    ready: VecDeque<Task<E>>,
    /// Begun and to be done before anything of `ready`: what failed together and is now tried apart.
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
    /// Records and bytes in `ready`, `work`, `dead_letters` and under way.
    records: usize,
    bytes: usize,
    /// Records that have had their effect.
    finished: u64,
}

impl<E> Scheduler<E> {
    /// An empty scheduler; the seed is for the jitter of its waits.
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

    /// Whether to take in more records: one batch may be under way while the next one gathers.
    pub fn has_room(&self) -> bool {
        let Settings { batch_records, batch_bytes, .. } = self.settings;
        !self.paused
            && !self.held.is_full(&self.settings)
            && self.records < 2 * batch_records
            && self.bytes < 2 * batch_bytes
    }

    /// What is held, where it is so much that nothing more comes in.
    pub fn held_full(&self) -> Option<HeldFull> {
        self.held.full(&self.settings)
    }

    /// How many bytes came in and are without their effect.
    pub fn bytes(&self) -> usize {
        self.bytes + self.held.bytes()
    }

    /// Whether everything that came in has had its effect.
    pub fn is_empty(&self) -> bool {
        self.watermark.is_whole()
    }

    /// The log goes on at an earlier offset: the topic was made anew. Only for a scheduler that
    /// [is empty](Self::is_empty), so that no offset is meant twice.
    pub fn begin_anew(&mut self) {
        self.watermark = Watermark::default();
    }

    /// A record came in; offsets only ever grow, not always by one.
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

    /// A record came in that is none of this group's: it needs no effect.
    pub fn pass_over(&mut self, record: &Record) {
        self.watermark.begin(record.offset, record.appended_at());
        self.watermark.finish(record.offset);
    }

    /// No record stands before this offset that did not come in: what is missing is none.
    pub fn reach(&mut self, offset: i64) {
        self.watermark.reach(offset);
    }

    /// What to do now. Times are spans since any moment that the caller keeps to.
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

    /// How [`Action::Apply`] went. Tells what becomes of a batch that failed.
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

    /// How [`Action::DeadLetter`] went, for each of them. Those that were not taken are sent again, alone.
    pub fn dead_lettered(&mut self, sent: Vec<(DeadLetter, Result<(), String>)>, now: Duration) {
        let mut refused = Vec::new();
        let mut why = None;
        for (letter, result) in sent {
            match result {
                // Its size was counted as a task's where it was one: `make_dead_letter` makes up the difference.
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

    /// The store did not answer a question about the partition: it waits, as for a batch.
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

    /// An operator lets the partition go on, with a new budget.
    pub fn resume(&mut self) {
        self.paused = false;
        self.dead_letter_budget.renew();
    }

    /// Whether the partition waits for an operator.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The offset up to which the group may commit: that of the first record without its effect,
    /// or the one behind the last; none before anything came in.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark.get()
    }

    /// The time of the first record without its effect, if one has come in, and its time is the broker's.
    pub fn waiting_since(&self) -> Option<OffsetDateTime> {
        self.watermark.waiting_since()
    }

    /// The offset up to which the partition came in; none before anything did.
    pub fn read_to(&self) -> Option<i64> {
        self.watermark.end
    }

    /// How many records have had their effect.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Whether there is nothing to do but what waits with held keys.
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

    /// How many keys are held because they alone meet what would be an outage.
    pub fn held_alone(&self) -> usize {
        self.suspects_of_outage.alone().filter(|key| self.held.has(key)).count()
    }

    /// A batch waits out an outage.
    fn put_off(&mut self, batch: Vec<Task<E>>, message: String, now: Duration) {
        self.turns.of_others = false;
        self.put_back(batch);
        self.outage.wait(now, message);
    }

    /// A batch waits out an outage that it met. From the second try of its records on it is tried in two halves:
    /// a store that answers, and is too slow for so much at once, or fails on one of its records, is not asked for
    /// the same again for ever. Nobody waits for that, down to a single event. Only what comes next is
    /// halved, so that after the longest outage there are a few small batches.
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

    /// A held key's time has come: the event that failed on its own, then the rest at once,
    /// before anything else.
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

    /// A record has had its effect.
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
