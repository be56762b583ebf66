//! Tokens that were verified lately, so that a device's thousandth post does not pay for another
//! signature.
//!
//! A token is known by its SHA-256, signature included: whoever changes a character asks anew. Only
//! good tokens are remembered, so that nobody without one can fill the memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::verify::Caller;

/// How long, in seconds, a token counts without another look.
const REMEMBER: u64 = 60;
/// Tokens and names of an ordinary device: what is larger is verified each time, so that the
/// memory is bounded in bytes too.
const ORDINARY_TOKEN: usize = 2048;
const ORDINARY_NAMES: usize = 16;

const SHARDS: usize = 16;
/// How many tokens half a shard holds: 16,384 in all.
const HALF: usize = 512;

type Digest = [u8; 32];

#[derive(Clone)]
struct Entry {
    caller: Arc<Caller>,
    generation: u64,
    since: u64,
    until: u64,
}

/// Two halves: when the young one is full it becomes the old one, and what was in there and was
/// not asked for meanwhile is forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
}

impl Shard {
    fn get(&mut self, digest: &Digest) -> Option<Entry> {
        if let Some(entry) = self.young.get(digest) {
            return Some(entry.clone());
        }
        let entry = self.old.remove(digest)?;
        self.put(*digest, entry.clone());
        Some(entry)
    }

    fn put(&mut self, digest: Digest, entry: Entry) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, entry);
    }
}

/// The memory.
#[derive(Default)]
pub struct Memory {
    shards: [Mutex<Shard>; SHARDS],
}

/// A token's place in the memory.
#[derive(Clone, Copy)]
pub struct Place(Digest);

impl Place {
    /// Where this token is, or would be; nowhere if it is no ordinary one.
    pub fn of(token: &str) -> Option<Self> {
        if token.len() > ORDINARY_TOKEN {
            return None;
        }
        digest(&SHA256, token.as_bytes()).as_ref().try_into().ok().map(Self)
    }
}

impl Memory {
    /// The caller of a token that was verified with keys of this generation, less than a minute
    /// ago, and has not expired: here without leeway.
    pub fn recall(&self, place: Place, now: u64, generation: u64) -> Option<Arc<Caller>> {
        let entry = self.with(place, |shard| shard.get(&place.0))??;
        // A clock that was set back makes everything unknown rather than young.
        let counts = entry.generation == generation && (entry.since..entry.until).contains(&now);
        counts.then_some(entry.caller)
    }

    /// Remembers what a token said.
    pub fn keep(&self, place: Place, caller: &Arc<Caller>, expires: u64, now: u64, generation: u64) {
        let names = caller.roles.len() + caller.devices.as_ref().map_or(0, Vec::len);
        let until = expires.min(now.saturating_add(REMEMBER));
        if names > ORDINARY_NAMES || until <= now {
            return;
        }
        let entry = Entry { caller: Arc::clone(caller), generation, since: now, until };
        self.with(place, |shard| shard.put(place.0, entry));
    }

    fn with<T>(&self, place: Place, act: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let [first, ..] = place.0;
        let shard = self.shards.get(usize::from(first) % SHARDS)?;
        Some(act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn caller() -> Arc<Caller> {
        Arc::new(Caller { subject: "s".into(), roles: vec!["device".into()], devices: None })
    }

    fn place(token: &str) -> Place {
        Place::of(token).unwrap()
    }

    #[test]
    fn for_a_minute_and_never_past_its_end() {
        let memory = Memory::default();
        memory.keep(place("long"), &caller(), NOW + 3600, NOW, 0);
        memory.keep(place("short"), &caller(), NOW + 5, NOW, 0);
        memory.keep(place("in its leeway"), &caller(), NOW - 1, NOW, 0);
        let knows = |token, now| memory.recall(place(token), now, 0).is_some();
        assert!(knows("long", NOW) && knows("long", NOW + 59) && !knows("long", NOW + 60));
        assert!(knows("short", NOW + 4) && !knows("short", NOW + 5));
        assert!(!knows("in its leeway", NOW));
        assert!(!knows("long", NOW - 1), "a clock that was set back");
        assert!(!knows("longer", NOW));
    }

    #[test]
    fn other_keys_know_nothing() {
        let memory = Memory::default();
        memory.keep(place("t"), &caller(), NOW + 60, NOW, 7);
        assert!(memory.recall(place("t"), NOW, 7).is_some());
        assert!(memory.recall(place("t"), NOW, 8).is_none());
    }

    #[test]
    fn it_is_bounded_and_forgets_what_is_not_asked_for() {
        let memory = Memory::default();
        memory.keep(place("asked for"), &caller(), NOW + 60, NOW, 0);
        memory.keep(place("not asked for"), &caller(), NOW + 60, NOW, 0);
        for number in 0..4 * SHARDS * HALF {
            memory.keep(place(&number.to_string()), &caller(), NOW + 60, NOW, 0);
            assert!(memory.recall(place("asked for"), NOW, 0).is_some(), "{number}");
        }
        assert!(memory.recall(place("not asked for"), NOW, 0).is_none());
        for shard in &memory.shards {
            let shard = shard.lock().unwrap();
            assert!(shard.young.len() <= HALF && shard.old.len() <= HALF);
        }
    }

    #[test]
    fn what_is_large_is_not_remembered() {
        assert!(Place::of(&"x".repeat(2049)).is_none());
        let memory = Memory::default();
        let many = Caller { devices: Some(vec![String::new(); 16]), ..(*caller()).clone() };
        memory.keep(place("t"), &Arc::new(many), NOW + 60, NOW, 0);
        assert!(memory.recall(place("t"), NOW, 0).is_none());
    }
}
