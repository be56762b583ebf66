//! Who waits for which event. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Interest;

type Waiting = Vec<(&'static str, Arc<Notify>)>;

/// The held requests of a tail.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// By the subject, which tells most of them apart.
    by_subject: HashMap<Arc<str>, Waiting>,
    count: usize,
    has_ended: bool,
    is_read: bool,
    is_at_end: bool,
}

impl Waiters {
    /// Adds a request, unless there are `most`.
    pub(super) fn add(&mut self, interest: &Interest, most: usize) -> Option<Arc<Notify>> {
        if self.has_ended || self.count >= most {
            return None;
        }
        self.count += 1;
        let woken = Arc::new(Notify::new());
        let waiting = self.by_subject.entry(Arc::clone(&interest.subject)).or_default();
        waiting.push((interest.event_type, Arc::clone(&woken)));
        Some(woken)
    }

    /// Removes a request.
    pub(super) fn remove(&mut self, interest: &Interest, woken: &Arc<Notify>) {
        let Some(waiting) = self.by_subject.get_mut(&interest.subject) else { return };
        let before = waiting.len();
        waiting.retain(|(_, other)| !Arc::ptr_eq(other, woken));
        self.count -= before - waiting.len();
        if waiting.is_empty() {
            self.by_subject.remove(&interest.subject);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Wakes the requests that wait for this event. One that does not wait at the moment is woken when it does.
    pub(super) fn wake(&self, event_type: &str, subject: &str) {
        let waiting = self.by_subject.get(subject).into_iter().flatten();
        waiting.filter(|(of, _)| *of == event_type).for_each(|(_, woken)| woken.notify_one());
    }

    /// Wakes all requests, and takes no more.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.by_subject.values().flatten().for_each(|(_, woken)| woken.notify_one());
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether the caller has to begin a reader: there is none.
    pub(super) fn begin_reader(&mut self) -> bool {
        !std::mem::replace(&mut self.is_read, true)
    }

    /// The reader has found the end of the topic: from now on no event is missed.
    pub(super) fn at_end(&mut self) {
        self.is_at_end = true;
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Whether the reader may end: nobody is held. The next one who is begins another.
    pub(super) fn end_reader(&mut self) -> bool {
        if self.count > 0 && !self.has_ended {
            return false;
        }
        (self.is_read, self.is_at_end) = (false, false);
        true
    }

    /// The reader has failed. Requests read by themselves, and the next one begins another.
    pub(super) fn fail_reader(&mut self) {
        (self.is_read, self.is_at_end) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn interest(event_type: &'static str, subject: &str) -> Interest {
        Interest { event_type, subject: subject.into() }
    }

    fn is_woken(woken: &Notify) -> bool {
        woken.notified().now_or_never().is_some()
    }

    #[test]
    fn an_event_wakes_those_who_wait_for_it() {
        let mut all = Waiters::default();
        let (a, b, other) = (interest("done", "a"), interest("done", "b"), interest("begun", "a"));
        let [one, two, three, four] = [&a, &a, &b, &other].map(|interest| all.add(interest, 9).unwrap());
        all.wake("done", "a");
        all.wake("done", "nobody");
        assert_eq!([&one, &two, &three, &four].map(|woken| is_woken(woken)), [true, true, false, false]);
        assert!(!is_woken(&one), "once");
        all.remove(&a, &one);
        all.wake("done", "a");
        assert_eq!([&one, &two].map(|woken| is_woken(woken)), [false, true]);
        for (interest, woken) in [(&a, &two), (&b, &three), (&other, &four), (&a, &one)] {
            all.remove(interest, woken);
        }
        assert!(all.len() == 0 && all.by_subject.is_empty());
    }

    #[test]
    fn their_number_is_bounded_and_at_the_end_all_are_woken() {
        let mut all = Waiters::default();
        let a = interest("done", "a");
        assert!(all.add(&a, 0).is_none());
        let one = all.add(&a, 1).unwrap();
        assert!(all.add(&a, 1).is_none() && !all.has_ended());
        all.end();
        assert!(is_woken(&one) && all.has_ended() && all.add(&a, 9).is_none());
        assert!(all.end_reader(), "nobody waits on");
    }

    #[test]
    fn there_is_one_reader_while_somebody_is_held() {
        let mut all = Waiters::default();
        let a = interest("done", "a");
        let one = all.add(&a, 9).unwrap();
        assert!(all.begin_reader() && !all.begin_reader() && !all.is_at_end());
        all.at_end();
        assert!(!all.end_reader() && all.is_at_end());
        all.remove(&a, &one);
        assert!(all.end_reader() && !all.is_at_end());
        assert!(all.begin_reader(), "the next one begins another");
        all.fail_reader();
        assert!(all.begin_reader());
    }
}
