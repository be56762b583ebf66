//! Simulates load on a scheduler: events with arrival times, transactions with durations, and the results.

use std::ops::Range;

use super::*;

/// How long a transaction takes, including the wait for more events.
pub(super) const TRANSACTION: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) at: Duration,
    pub(super) key: u16,
    pub(super) size: usize,
    /// Every transaction that contains it fails.
    pub(super) bad: bool,
}

/// How transactions fail, and how long the steps take.
pub(super) struct Load<'l> {
    pub(super) settings: Settings,
    /// The failure that any transaction meets at a time, whatever it contains.
    pub(super) everybody: Box<dyn FnMut(Duration) -> Option<Class> + 'l>,
    pub(super) takes: Duration,
    /// The failure of a transaction with a bad event, and how long it takes.
    pub(super) class: Class,
    pub(super) bad_takes: Duration,
    pub(super) letters_take: Duration,
    pub(super) seed: u64,
}

#[derive(Default)]
pub(super) struct Came {
    pub(super) scheduler: Scheduler,
    pub(super) log: Vec<Incoming>,
    /// When each event was finished.
    pub(super) done: Vec<Option<Duration>>,
    /// The events that became dead letters, with their tries and the time.
    pub(super) letters: BTreeMap<usize, (u32, Duration)>,
    /// How often each event failed alone.
    pub(super) tries: BTreeMap<usize, u32>,
    /// The start times of transactions that failed because of a bad event.
    pub(super) failures: Vec<Duration>,
    /// The times when the number of keys known to meet an outage alone reached a new maximum.
    pub(super) found: Vec<Duration>,
    pub(super) held_alone: bool,
    pub(super) probes: usize,
    pub(super) pauses: usize,
    /// The most records and bytes that were held at once.
    pub(super) most_held: (usize, usize),
    /// How long no records came in because too much was held.
    pub(super) full: Duration,
}

impl Load<'_> {
    /// Bad events meet an outage error that no other event meets.
    pub(super) fn of_outages(seed: u64) -> Self {
        Self {
            settings: Settings::default(),
            everybody: Box::new(|_| None),
            takes: TRANSACTION,
            class: Class::OutageMet,
            bad_takes: TRANSACTION,
            letters_take: Duration::ZERO,
            seed,
        }
    }

    /// During this time every transaction meets an outage.
    pub(super) fn away(self, away: Range<Duration>) -> Self {
        Self { everybody: Box::new(move |now| away.contains(&now).then_some(Class::OutageMet)), ..self }
    }

    /// Runs the load in the order of time, for `long` or until all events are finished.
    pub(super) fn last(mut self, mut log: Vec<Incoming>, long: Duration) -> Came {
        log.sort_by_key(|incoming| incoming.at);
        let mut came = Came {
            scheduler: Scheduler::new(self.settings, self.seed),
            done: vec![None; log.len()],
            log,
            ..Came::default()
        };
        let (mut now, mut next, mut left) = (Duration::ZERO, 0, came.log.len());
        while now < long && left > 0 {
            while came.scheduler.has_room() && came.log.get(next).is_some_and(|incoming| incoming.at <= now) {
                let Incoming { key, size, .. } = came.log[next];
                let offset = i64::try_from(next).unwrap();
                came.scheduler.arrive(record(offset, key, &vec![b' '; size]), Ok(decoded(offset, key)));
                next += 1;
            }
            let began = now;
            match came.scheduler.next(now) {
                Action::Apply(batch) => {
                    let places: Vec<_> = batch.iter().map(|task| index(task.record.offset)).collect();
                    let meets = (self.everybody)(now);
                    let is_bad = meets.is_none() && places.iter().any(|at| came.log[*at].bad);
                    now += if is_bad { self.bad_takes } else { self.takes };
                    if is_bad {
                        came.failures.push(began);
                        if let [at] = places[..] {
                            *came.tries.entry(at).or_default() += 1;
                        }
                    } else if meets.is_none() {
                        places.iter().for_each(|at| came.done[*at] = Some(now));
                        left -= places.len();
                    }
                    let fails = meets.or(is_bad.then_some(self.class));
                    let after = came.scheduler.applied(batch, fails.map_or(Ok(()), |class| Err(error(class))), now);
                    came.held_alone |= matches!(after, Some(AfterFailure::HeldAlone(_)));
                }
                Action::Probe(_) => {
                    let fails = (self.everybody)(now);
                    now += self.takes;
                    came.probes += 1;
                    came.scheduler.probed(fails.map_or(Ok(()), |class| Err(error(class))), now);
                }
                Action::DeadLetter(letters) => {
                    now += self.letters_take;
                    for letter in &letters {
                        came.done[index(letter.record.offset)] = Some(now);
                        came.letters.insert(index(letter.record.offset), (letter.attempts, now));
                    }
                    left -= letters.len();
                    came.scheduler.dead_lettered(sent(letters, Ok(())), now);
                }
                Action::Wait(until) => {
                    let more = came.log.get(next).map_or(long, |incoming| incoming.at).max(now + self.takes);
                    now = until.unwrap_or(more).min(more);
                }
                Action::Pause => {
                    came.pauses += 1;
                    came.scheduler.resume();
                }
            }
            let held = (came.scheduler.held.records(), came.scheduler.held.bytes());
            came.most_held = (came.most_held.0.max(held.0), came.most_held.1.max(held.1));
            if came.scheduler.held_full().is_some() {
                came.full += now - began;
            }
            if came.scheduler.suspects_of_outage.alone().count() > came.found.len() {
                came.found.push(now);
            }
        }
        came
    }
}

impl Came {
    /// The longest wait of the matching events; unfinished ones count until `now`.
    pub(super) fn longest_wait(&self, now: Duration, is_such: impl Fn(&Incoming) -> bool) -> Duration {
        let such = self.log.iter().zip(&self.done).filter(|(incoming, _)| is_such(incoming));
        such.map(|(incoming, done)| done.unwrap_or(now).saturating_sub(incoming.at)).max().unwrap_or_default()
    }
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap()
}
