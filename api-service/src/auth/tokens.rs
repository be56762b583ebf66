//! Checks tokens: from a cache, or by verifying them with the current keys.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::JwtConfig;
use super::jwks::Source;
use super::jws::Jws;
use super::rejected::{MAX_TOKEN, Rejected};
use super::verify::{Caller, Declared, Verified, Verifier};
use crate::http::problem::{Code, Problem};

/// How long, in seconds, a cached token is valid without another check of its signature.
const REMEMBER: u64 = 60;
/// The size of the cache, about.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The size of an entry without its token and the caller's names, about.
const EACH: usize = 512;
/// How many usual tokens that is.
const MOST: usize = 16_384;

/// A token that was verified with the keys of this generation. It is known again only if all of its bytes are equal.
#[derive(PartialEq, Eq)]
struct Id {
    token: Box<str>,
    generation: u64,
}

/// The same, to look for it.
struct Sought<'a> {
    token: &'a str,
    generation: u64,
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.token.as_bytes());
        state.write_u64(self.generation);
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought { token: &self.token, generation: self.generation }.hash(state);
    }
}

impl Equivalent<Id> for Sought<'_> {
    fn equivalent(&self, known: &Id) -> bool {
        self.generation == known.generation && *self.token == *known.token
    }
}

/// Hashes with a random key of this process. The hash only finds an entry, so it need not resist anything else: every
/// request hashes a whole token, and a cryptographic hash would cost several times as much.
#[derive(Clone)]
struct Keyed(u64);

impl Keyed {
    fn new() -> Self {
        Self(RandomState::new().hash_one(()))
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher(self.0)
    }
}

struct KeyedHasher(u64);

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub struct Tokens {
    verifier: Verifier,
    pub source: Source,
    /// Recently verified tokens, so that a client's thousandth request does not pay for another signature. Only valid
    /// tokens are cached: nobody can fill the cache without one.
    remembered: Cache<Id, Verified, Bytes, Keyed>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Id, Verified> for Bytes {
    fn weight(&self, id: &Id, Verified { caller, .. }: &Verified) -> u64 {
        let names = caller.roles.iter().chain(caller.bound.iter().flat_map(|(_, ids)| ids));
        let names: usize = names.map(|name| size_of::<String>() + name.len()).sum();
        (EACH + id.token.len() + caller.subject.len() + names) as u64
    }
}

impl Tokens {
    /// Checks tokens, and reads what the domains declare, see [`Verifier::new`].
    pub fn new(config: &JwtConfig, declared: Declared) -> anyhow::Result<Self> {
        Ok(Self {
            verifier: Verifier::new(&config.claims, declared)?,
            source: Source::new(config)?,
            remembered: Cache::with(MOST, MAX_BYTES, Bytes, Keyed::new(), DefaultLifecycle::default()),
        })
    }

    /// The caller of a token at `now`, in seconds since the Unix epoch; 401, or 503 if the token cannot be verified
    /// now.
    pub async fn check(&self, token: &str, now: u64) -> Result<Arc<Caller>, Problem> {
        let mut checked = self.look(token, now);
        let mut later = None;
        if let Err(Rejected::UnknownKey | Rejected::NoKeys) = checked
            && let Ok(jws) = Jws::read(token)
        {
            later = self.source.look_again(jws.algorithm, jws.kid.as_deref()).await.err();
            checked = self.look(token, now);
        }
        checked.map_err(|rejected| {
            // The token may be valid: after a 401 a client would discard it.
            let later = later.filter(|_| matches!(rejected, Rejected::UnknownKey | Rejected::NoKeys));
            let (reason, detail) = later.map_or(rejected, |_| Rejected::NoKeys).parts();
            metrics::counter!("auth_rejected_total", "reason" => reason).increment(1);
            match later {
                Some(later) => Problem::new(Code::KEYS_UNAVAILABLE, detail).retry_after(later),
                None => Problem::new(Code::INVALID_TOKEN, detail),
            }
        })
    }

    fn look(&self, token: &str, now: u64) -> Result<Arc<Caller>, Rejected> {
        // Before it is hashed.
        if token.len() > MAX_TOKEN {
            return Err(Rejected::TooLong(token.len()));
        }
        let keys = self.source.keys();
        if let Some(known) = self.recall(&Sought { token, generation: keys.generation }, now) {
            return Ok(known);
        }
        let verified = self.verifier.verify(token, now, &keys)?;
        metrics::counter!("auth_verified_total").increment(1);
        self.keep(Id { token: token.into(), generation: keys.generation }, &verified, now);
        Ok(verified.caller)
    }

    fn keep(&self, id: Id, verified: &Verified, now: u64) {
        let expires = verified.expires.min(now.saturating_add(REMEMBER));
        if now < expires {
            self.remembered.insert(id, Verified { expires, caller: Arc::clone(&verified.caller) });
        }
    }

    /// The caller of a token that was verified less than a minute ago and has not expired; no leeway applies here.
    fn recall(&self, sought: &Sought<'_>, now: u64) -> Option<Arc<Caller>> {
        let known = self.remembered.get(sought)?;
        // After the clock was set back, entries count as unknown, not as recent.
        let counts = now < known.expires && known.expires <= now.saturating_add(REMEMBER);
        counts.then_some(known.caller)
    }
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::config;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn tokens() -> Tokens {
        Tokens::new(&config(), Declared::default()).unwrap()
    }

    fn verified(devices: usize, expires: u64) -> Verified {
        let bound = vec![("device_id", vec!["device".to_owned(); devices])];
        let caller = Caller { subject: "s".into(), is_anonymous: false, roles: vec!["device".into()], bound };
        Verified { caller: Arc::new(caller), expires }
    }

    fn id(token: impl Into<Box<str>>) -> Id {
        Id { token: token.into(), generation: 7 }
    }

    fn knows(tokens: &Tokens, token: &str, generation: u64, now: u64) -> bool {
        tokens.recall(&Sought { token, generation }, now).is_some()
    }

    #[test]
    fn for_a_minute_and_never_past_its_end() {
        let tokens = tokens();
        tokens.keep(id("long"), &verified(1, NOW + 3600), NOW);
        tokens.keep(id("short"), &verified(1, NOW + 5), NOW);
        tokens.keep(id("in its leeway"), &verified(1, NOW - 1), NOW);
        let knows = |token, now| knows(&tokens, token, 7, now);
        assert!(knows("long", NOW) && knows("long", NOW + 59) && !knows("long", NOW + 60));
        assert!(knows("short", NOW + 4) && !knows("short", NOW + 5));
        assert!(!knows("in its leeway", NOW));
        assert!(!knows("long", NOW - 1), "a clock that was set back");
    }

    /// All of these would be the same one to a hash that is always the same.
    #[test]
    fn a_token_is_known_by_all_of_its_bytes_and_by_its_keys() {
        struct Same;
        impl Hasher for Same {
            fn write(&mut self, _: &[u8]) {}
            fn finish(&self) -> u64 {
                1
            }
        }
        #[derive(Clone, Default)]
        struct AlwaysSame;
        impl BuildHasher for AlwaysSame {
            type Hasher = Same;
            fn build_hasher(&self) -> Same {
                Same
            }
        }
        let remembered = Cache::with(10, MAX_BYTES, Bytes, AlwaysSame, DefaultLifecycle::default());
        remembered.insert(id("header.claims.signature"), verified(1, NOW));
        let finds = |token, generation| remembered.get(&Sought { token, generation }).is_some();
        assert!(finds("header.claims.signature", 7));
        assert!(!finds("header.claims.signature", 8), "other keys know nothing");
        for other in ["header.claims.signaturf", "Header.claims.signature", "header.claims.signatur", ""] {
            assert!(!finds(other, 7), "{other}");
        }
        let tokens = tokens();
        tokens.keep(id("header.claims.signature"), &verified(1, NOW + 60), NOW);
        assert!(knows(&tokens, "header.claims.signature", 7, NOW));
        assert!(!knows(&tokens, "header.claims.signature", 8, NOW));
        assert!(!knows(&tokens, "header.claims.signaturf", 7, NOW));
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes_and_keeps_what_is_asked_for() {
        for (devices, token, most) in [(0, 500, MOST), (1000, 500, 1000), (0, 15_000, 1_200)] {
            let tokens = tokens();
            let text = |number: usize| format!("{number:0token$}");
            let asked_for = text(usize::MAX);
            let verified = verified(devices, NOW + 60);
            tokens.keep(id(&*asked_for), &verified, NOW);
            for number in 0..3 * most {
                tokens.keep(id(text(number)), &verified, NOW);
                assert!(knows(&tokens, &asked_for, 7, NOW), "{number}");
            }
            let (count, bytes) = (tokens.remembered.len(), tokens.remembered.weight());
            assert!(count <= most && bytes <= MAX_BYTES && bytes > MAX_BYTES * 4 / 5, "{count}, {bytes}");
        }
    }
}
