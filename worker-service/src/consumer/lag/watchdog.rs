//! Finds a partition that stands still without a reason: it has readable records and makes no progress, although it
//! does not wait for anything known. Pure.

use std::time::Duration;

/// The state of a partition at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observation {
    /// Its position.
    pub(super) at: Option<i64>,
    /// The offset up to which records came in. It moves on while a held key keeps the position where it is.
    pub(super) read_to: Option<i64>,
    /// How many records were finished since its runner started.
    pub(super) finished: u64,
    /// The records before its last stable offset; `None` if unknown.
    pub(super) lag: Option<u64>,
    /// Whether it has a reason to stand still: an outage, a held key with nothing else to do, an operator's pause.
    pub(super) has_reason: bool,
}

/// A partition that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    /// How long it has stood still without a reason.
    pub(super) since: Duration,
    /// Whether its runner has to restart now.
    pub(super) restart: bool,
}

/// How long a partition has been at its position.
#[derive(Debug, Default)]
pub(super) struct Watchdog(Option<Standing>);

#[derive(Debug, Clone, Copy)]
struct Standing {
    at: Option<i64>,
    /// The furthest offset read at this position: a restarted runner that reads it again makes no progress.
    read_to: Option<i64>,
    finished: u64,
    /// How long it is known to have stood there while there were records to read.
    stood: Duration,
    /// The time of the last observation, if the lag was known then.
    seen: Option<Duration>,
    /// How long it had stood still at the last restart of its runner.
    anew: Option<Duration>,
}

impl Watchdog {
    /// Evaluates an observation. The runner restarts each time that the partition has stood still for `after`. Time in
    /// which the lag is unknown does not count, because there may be no records to read.
    pub(super) fn look(&mut self, after: Duration, now: Duration, seen: Observation) -> Option<Stall> {
        let known = seen.lag.map(|_| now);
        let Observation { at, read_to, finished, .. } = seen;
        let anew = Standing { at, read_to, finished, stood: Duration::ZERO, seen: known, anew: None };
        let standing = self.0.get_or_insert(anew);
        let moved = standing.at != at || read_to > standing.read_to || finished > standing.finished;
        let furthest = if standing.at == at { standing.read_to.max(read_to) } else { read_to };
        (standing.read_to, standing.finished) = (furthest, finished);
        if moved || seen.has_reason || seen.lag == Some(0) {
            *standing = Standing { read_to: furthest, ..anew };
        } else if let (Some(now), Some(before)) = (known, std::mem::replace(&mut standing.seen, known)) {
            standing.stood += now.saturating_sub(before);
        }
        let since = standing.stood;
        if since < after {
            return None;
        }
        let restart = standing.anew.is_none_or(|anew| since.saturating_sub(anew) >= after);
        if restart {
            standing.anew = Some(since);
        }
        Some(Stall { since, restart })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AFTER: Duration = Duration::from_secs(4);
    const SEEN: Observation = Observation { at: None, read_to: None, finished: 0, lag: None, has_reason: false };

    fn seen() -> impl Strategy<Value = Observation> {
        let lag = prop_oneof![1 => Just(Some(0)), 8 => Just(Some(3)), 1 => Just(None)];
        let at = prop_oneof![20 => Just(Some(5)), 1 => Just(Some(6)), 1 => Just(None)];
        let read_to = prop_oneof![30 => Just(Some(7)), 1 => Just(Some(8)), 1 => Just(None)];
        let finished = prop_oneof![30 => Just(2), 1 => Just(3), 1 => Just(0)];
        (at, read_to, finished, lag, prop::bool::weighted(0.05))
            .prop_map(|(at, read_to, finished, lag, has_reason)| Observation { at, read_to, finished, lag, has_reason })
    }

    proptest! {
        /// At each moment the result is the same as that of the whole history.
        #[test]
        fn it_is_found_where_nothing_moved_for_so_long(looks in prop::collection::vec(seen(), 1..80)) {
            let mut watchdog = Watchdog::default();
            for now in 0..looks.len() {
                let found = watchdog.look(AFTER, Duration::from_secs(now as u64), looks[now]);
                // It has stood since the last moment at which it moved, was at its end, or had a reason.
                let began = (0..=now).rev().find(|&then| {
                    let Observation { at, read_to, finished, lag, has_reason } = looks[then];
                    let here = looks[..then].iter().rev().take_while(|before| before.at == at);
                    let furthest = here.map(|before| before.read_to).max();
                    let is_start = then == 0 || has_reason || lag == Some(0) || looks[then - 1].at != at;
                    is_start || furthest < Some(read_to) || looks[then - 1].finished < finished
                });
                // Of this time, only the intervals whose lag was known at both ends count.
                let is_known = |then: &usize| looks[*then].lag.is_some() && looks[*then - 1].lag.is_some();
                let since = (began.unwrap() + 1..=now).filter(is_known).count() as u64;
                // The runner restarts each time that this much time has passed.
                let restart = || since.is_multiple_of(AFTER.as_secs()) && is_known(&now);
                let stall = || Stall { since: Duration::from_secs(since), restart: restart() };
                let expected = (since >= AFTER.as_secs()).then(stall);
                prop_assert_eq!(found, expected, "at {}", now);
            }
        }
    }

    #[test]
    fn the_time_without_kafka_does_not_count() {
        let mut watchdog = Watchdog::default();
        let mut look = |now, lag| {
            watchdog.look(Duration::from_secs(180), Duration::from_secs(now), Observation { at: Some(1), lag, ..SEEN })
        };
        assert_eq!(look(0, Some(0)), None);
        assert_eq!([10, 600].map(|now| look(now, None)), [None; 2]);
        assert_eq!(look(605, Some(9)), None, "what has come since is on its way");
        assert_eq!(look(784, Some(9)), None);
        assert_eq!(look(785, Some(9)), Some(Stall { since: Duration::from_secs(180), restart: true }));
    }
}
