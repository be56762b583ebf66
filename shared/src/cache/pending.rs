//! Postponed fences, one per resource, and the events that become visible with them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{CacheKey, Kind};

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The most resources with a postponed fence.
    pub(super) fences: usize,
    /// The most events, for all resources together.
    pub(super) events: usize,
    /// How long a stale body may stay in the cache after a fence was postponed.
    pub(super) stale: Duration,
}

#[derive(Debug)]
pub(super) struct Pending {
    bounds: Bounds,
    fences: HashMap<CacheKey, PendingFence>,
    /// The number of fences of each kind.
    by_kind: BTreeMap<&'static str, usize>,
    /// The number of events in all of `fences`.
    events: usize,
}

#[derive(Debug)]
struct PendingFence {
    version: i64,
    /// In order of arrival.
    events: Vec<Unseen>,
}

/// An event whose fence was postponed.
#[derive(Debug, Clone, Copy)]
struct Unseen {
    /// The time since its acceptance, when the fence was postponed.
    age: Duration,
    put_off: Duration,
}

/// An event that became visible: the kind of its resource, and the time since its acceptance.
pub(super) type Visible = (&'static Kind, Duration);

impl Pending {
    pub(super) fn new(bounds: Bounds, kinds: &[&'static Kind]) -> Self {
        let by_kind = kinds.iter().map(|kind| (kind.name(), 0)).collect();
        Self { bounds, fences: HashMap::new(), by_kind, events: 0 }
    }

    /// The number of fences of each kind, also of those that have none.
    pub(super) fn by_kind(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.by_kind.iter().map(|(kind, fences)| (*kind, *fences))
    }

    pub(super) fn len(&self) -> usize {
        self.fences.len()
    }

    pub(super) fn fences(&self) -> impl Iterator<Item = (&CacheKey, i64)> {
        self.fences.iter().map(|(key, kept)| (key, kept.version))
    }

    /// Keeps a resource's fence; of two, the greater version. Returns false if there is no room.
    pub(super) fn keep(&mut self, key: &CacheKey, version: i64) -> bool {
        if let Some(kept) = self.fences.get_mut(key) {
            kept.version = kept.version.max(version);
        } else if self.fences.len() < self.bounds.fences {
            self.fences.insert(key.clone(), PendingFence { version, events: Vec::new() });
            *self.by_kind.entry(key.kind().name()).or_default() += 1;
        } else {
            return false;
        }
        true
    }

    /// Adds an event of this age whose fence was postponed. If there is no room, it counts as visible at the latest
    /// possible time: then this returns that time, since its acceptance.
    pub(super) fn wait(&mut self, key: &CacheKey, age: Duration, now: Duration) -> Option<Duration> {
        let Some(kept) = self.fences.get_mut(key).filter(|_| self.events < self.bounds.events) else {
            return Some(age + self.bounds.stale);
        };
        kept.events.push(Unseen { age, put_off: now });
        self.events += 1;
        None
    }

    /// Redis acknowledged a resource's fence of this version. If no greater version is kept, returns the events that
    /// became visible.
    pub(super) fn acknowledged(&mut self, key: &CacheKey, version: i64, now: Duration) -> Vec<Visible> {
        if self.fences.get(key).is_none_or(|kept| kept.version > version) {
            return Vec::new();
        }
        let Some(PendingFence { events, .. }) = self.fences.remove(key) else { return Vec::new() };
        if let Some(fences) = self.by_kind.get_mut(key.kind().name()) {
            *fences -= 1;
        }
        self.events -= events.len();
        events.into_iter().map(|event| (key.kind(), event.age + now.saturating_sub(event.put_off))).collect()
    }

    /// The same for events whose stale bodies have expired, whether or not their fences were acknowledged.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Visible> {
        let mut visible = Vec::new();
        if self.events == 0 {
            return visible;
        }
        for (key, kept) in &mut self.fences {
            let is_over = |event: &Unseen| event.put_off + self.bounds.stale <= now;
            let over = kept.events.iter().take_while(|event| is_over(event)).count();
            visible.extend(kept.events.drain(..over).map(|event| (key.kind(), event.age + self.bounds.stale)));
        }
        self.events -= visible.len();
        visible
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cache::Load;

    const BOUNDS: Bounds = Bounds { fences: 3, events: 8, stale: Duration::from_secs(70) };

    const LOAD: Load = |_, _| Box::pin(async { Ok(Vec::new()) });
    static KINDS: [Kind; 2] = [Kind { prefix: "even:", load: LOAD }, Kind { prefix: "odd:", load: LOAD }];

    fn key(n: u8) -> CacheKey {
        CacheKey::new(&KINDS[usize::from(n % 2)], format!("d{n}").into())
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// This number of events of a resource are postponed with its next version.
        PutOff(u8, usize),
        /// A resource's kept version is acknowledged, or the version before it.
        Acknowledged(u8, bool),
        Passes(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5u8, 1..4usize).prop_map(|(device, events)| Step::PutOff(device, events)),
            (0..5u8, any::<bool>()).prop_map(|(device, is_last)| Step::Acknowledged(device, is_last)),
            (1..40u64).prop_map(Step::Passes),
        ]
    }

    proptest! {
        /// A simple model: all events with their acceptance and the time at which they are visible at the latest.
        #[test]
        fn every_event_counts_once_when_its_fence_is_acknowledged_or_nothing_stale_is_left(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut pending = Pending::new(BOUNDS, &[&KINDS[0], &KINDS[1]]);
            let mut versions: BTreeMap<u8, i64> = BTreeMap::new();
            let mut model: Vec<(u8, Duration)> = Vec::new();
            let (mut now, mut put_off, mut counted) = (Duration::ZERO, 0, 0);
            const AGE: Duration = Duration::from_secs(1);
            for step in steps {
                match step {
                    Step::PutOff(device, events) => {
                        let version = versions.entry(device).or_insert(0);
                        *version += 1;
                        let is_kept = pending.keep(&key(device), *version);
                        put_off += events;
                        for _ in 0..events {
                            match pending.wait(&key(device), AGE, now) {
                                None => {
                                    prop_assert!(is_kept && model.len() < BOUNDS.events);
                                    model.push((device, now));
                                }
                                Some(visible) => {
                                    prop_assert!(!is_kept || model.len() == BOUNDS.events);
                                    prop_assert_eq!(visible, AGE + BOUNDS.stale);
                                    counted += 1;
                                }
                            }
                        }
                    }
                    Step::Acknowledged(device, is_last) => {
                        let kept = pending.fences().find(|(of, _)| **of == key(device)).map(|(_, version)| version);
                        let version = kept.map_or(7, |version| if is_last { version } else { version - 1 });
                        let visible = pending.acknowledged(&key(device), version, now);
                        let expected: Vec<_> = model
                            .iter()
                            .filter(|(of, _)| kept.is_some() && is_last && *of == device)
                            .map(|(of, since)| (key(*of).kind().name(), AGE + now - *since))
                            .collect();
                        let visible: Vec<_> = visible.iter().map(|(kind, after)| (kind.name(), *after)).collect();
                        prop_assert_eq!(&visible, &expected);
                        model.retain(|(of, _)| !(kept.is_some() && is_last && *of == device));
                        counted += visible.len();
                    }
                    Step::Passes(seconds) => {
                        now += Duration::from_secs(seconds);
                        let visible = pending.expired(now);
                        let before = model.len();
                        model.retain(|(_, since)| *since + BOUNDS.stale > now);
                        prop_assert_eq!(visible.len(), before - model.len());
                        prop_assert!(visible.iter().all(|(_, visible)| *visible == AGE + BOUNDS.stale));
                        counted += visible.len();
                    }
                }
                prop_assert!(pending.len() <= BOUNDS.fences);
                let of_kind = |name| pending.fences().filter(|(key, _)| key.kind().name() == name).count();
                let by_kind: Vec<_> = pending.by_kind().collect();
                prop_assert_eq!(by_kind, ["even", "odd"].map(|name| (name, of_kind(name))));
                prop_assert_eq!(pending.events, model.len());
                prop_assert_eq!(counted + model.len(), put_off);
            }
        }
    }
}
