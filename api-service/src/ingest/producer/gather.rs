//! Gathers single events while earlier ones are under way, so that what Kafka gets follows the load: a lone event goes
//! at once, and of many those that meet go together.
//!
//! An event goes at once if no other one is under way. Otherwise it waits until all that are under way have their
//! reports, at most [`LONGEST`], and goes with all that wait then. So one round trip to Kafka takes what has met during
//! the one before, and when they take long, events wait no longer than a fixed linger would have them wait.
//!
//! librdkafka with `linger.ms=0` would gather, too, once five records of a partition are under way. But while others wait
//! for that, its thread polls without a pause.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest that an event waits for those that are under way.
pub(super) const LONGEST: Duration = Duration::from_millis(5);

/// What waits, and how much is under way.
#[derive(Debug)]
pub(super) struct Gather<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    waiting: Vec<T>,
    /// How often those that waited were handed over.
    wave: u64,
    under_way: usize,
}

/// What is to be done with an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added<T> {
    /// It goes at once.
    Goes(T),
    /// It waits, and it is the first: it has to see to it that this wave goes within [`LONGEST`].
    Opens(u64),
    /// It waits behind the first.
    Waits,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        Self(Mutex::new(State { waiting: Vec::new(), wave: 0, under_way: 0 }))
    }
}

impl<T> Gather<T> {
    /// Adds an event. One that goes is under way.
    pub(super) fn add(&self, event: T) -> Added<T> {
        let mut state = self.state();
        if state.under_way == 0 && state.waiting.is_empty() {
            state.under_way = 1;
            return Added::Goes(event);
        }
        state.waiting.push(event);
        if state.waiting.len() == 1 { Added::Opens(state.wave) } else { Added::Waits }
    }

    /// An event that was under way has its report. Returns those that go now, in order.
    pub(super) fn reported(&self) -> Vec<T> {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(1);
        if state.under_way == 0 { state.take() } else { Vec::new() }
    }

    /// The events that wait, if they are those of this wave: they go now.
    pub(super) fn release(&self, wave: u64) -> Vec<T> {
        let mut state = self.state();
        if state.wave == wave { state.take() } else { Vec::new() }
    }

    /// All events that wait: they go now.
    pub(super) fn release_all(&self) -> Vec<T> {
        self.state().take()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A panic of the lock's holder cannot leave the state inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Vec<T> {
        self.wave += u64::from(!self.waiting.is_empty());
        self.under_way += self.waiting.len();
        // The next wave is probably as large.
        let next = Vec::with_capacity(self.waiting.len());
        std::mem::replace(&mut self.waiting, next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may happen: an event comes, one of those that are under way has its report, a wave has waited for long.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Add,
        Report,
        Overdue,
    }

    proptest! {
        #[test]
        fn each_event_goes_once_in_order_and_none_waits_while_none_is_under_way(
            steps in prop::collection::vec(prop_oneof![Just(Step::Add), Just(Step::Report), Just(Step::Overdue)], 0..80),
        ) {
            let gather = Gather::default();
            let (mut added, mut gone, mut reported) = (0, Vec::new(), 0);
            let mut opened = None;
            for step in steps {
                let (waited, under_way) = (added - gone.len(), gone.len() - reported);
                match step {
                    Step::Add => {
                        match gather.add(added) {
                            Added::Goes(event) => {
                                prop_assert_eq!((waited, under_way, event), (0, 0, added));
                                gone.push(event);
                            }
                            Added::Opens(wave) => {
                                prop_assert!(waited == 0 && under_way > 0);
                                prop_assert!(opened != Some(wave), "a wave opens once");
                                opened = Some(wave);
                            }
                            Added::Waits => prop_assert!(waited > 0),
                        }
                        added += 1;
                    }
                    Step::Report if under_way == 0 => {}
                    Step::Report => {
                        let go = gather.reported();
                        reported += 1;
                        prop_assert_eq!(go.len(), if under_way == 1 { waited } else { 0 });
                        gone.extend(go);
                    }
                    Step::Overdue => {
                        let go = opened.map(|wave| gather.release(wave)).unwrap_or_default();
                        prop_assert_eq!(go.len(), waited, "the last wave that opened is the one that waits");
                        gone.extend(go);
                    }
                }
                prop_assert!(gone.iter().copied().eq(0..gone.len()), "{:?}", gone);
                prop_assert!(added == gone.len() || gone.len() > reported, "it waits for nothing");
            }
            gone.extend(gather.release_all());
            prop_assert_eq!(gone.len(), added);
        }
    }

    #[test]
    fn a_wave_that_has_gone_does_not_release_the_next_one() {
        let gather = Gather::default();
        assert_eq!(gather.add(0), Added::Goes(0));
        assert_eq!((gather.add(1), gather.add(2)), (Added::Opens(0), Added::Waits));
        assert_eq!(gather.reported(), [1, 2]);
        assert_eq!(gather.add(3), Added::Opens(1));
        assert_eq!((gather.release(0), gather.release(1)), (vec![], vec![3]));
    }
}
