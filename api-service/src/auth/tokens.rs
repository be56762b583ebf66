//! Checks tokens: from a cache, or by verifying them with the current keys.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::config::JwtConfig;
use super::jwks::Source;
use super::jws::Jws;
use super::rejected::{MAX_TOKEN, Rejected};
use super::verify::{Caller, Declared, Verified, Verifier};
use crate::http::problem::{Code, Problem};

/// How long, in seconds, a cached token is valid without another check of its signature.
const REMEMBER: u64 = 60;
/// The size of the cache, about.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The size of an entry without the caller's names, about.
const EACH: usize = 512;
/// The most entries that result.
const MOST: usize = 16_384;

/// A token's SHA-256, and the generation of the keys that it was verified with.
type Id = ([u8; 32], u64);

pub struct Tokens {
    verifier: Verifier,
    pub source: Source,
    /// Recently verified tokens, so that a client's thousandth request does not pay for another signature. The hash
    /// covers the signature. Only valid tokens are cached: nobody can fill the cache without one.
    remembered: Cache<Id, Verified, Bytes>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Id, Verified> for Bytes {
    fn weight(&self, _: &Id, Verified { caller, .. }: &Verified) -> u64 {
        let names = caller.roles.iter().chain(caller.bound.iter().flat_map(|(_, ids)| ids));
        let names: usize = names.map(|name| size_of::<String>() + name.len()).sum();
        (EACH + caller.subject.len() + names) as u64
    }
}

impl Tokens {
    /// Checks tokens, and reads what the domains declare, see [`Verifier::new`].
    pub fn new(config: &JwtConfig, declared: Declared) -> anyhow::Result<Self> {
        Ok(Self {
            verifier: Verifier::new(&config.claims, declared)?,
            source: Source::new(config)?,
            remembered: Cache::with_weighter(MOST, MAX_BYTES, Bytes),
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
        let hash: Result<[u8; 32], _> = digest(&SHA256, token.as_bytes()).as_ref().try_into();
        let id = hash.ok().map(|hash| (hash, keys.generation));
        if let Some(known) = id.and_then(|id| self.recall(&id, now)) {
            return Ok(known);
        }
        let verified = self.verifier.verify(token, now, &keys)?;
        metrics::counter!("auth_verified_total").increment(1);
        if let Some(id) = id {
            self.keep(id, &verified, now);
        }
        Ok(verified.caller)
    }

    fn keep(&self, id: Id, verified: &Verified, now: u64) {
        let expires = verified.expires.min(now.saturating_add(REMEMBER));
        if now < expires {
            self.remembered.insert(id, Verified { expires, caller: Arc::clone(&verified.caller) });
        }
    }

    /// The caller of a token that was verified less than a minute ago and has not expired; no leeway applies here.
    fn recall(&self, id: &Id, now: u64) -> Option<Arc<Caller>> {
        let known = self.remembered.get(id)?;
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

    #[test]
    fn for_a_minute_and_never_past_its_end() {
        let tokens = tokens();
        let [long, short, in_its_leeway] = [1, 2, 3].map(|token| ([token; 32], 7));
        tokens.keep(long, &verified(1, NOW + 3600), NOW);
        tokens.keep(short, &verified(1, NOW + 5), NOW);
        tokens.keep(in_its_leeway, &verified(1, NOW - 1), NOW);
        let knows = |id, now| tokens.recall(&id, now).is_some();
        assert!(knows(long, NOW) && knows(long, NOW + 59) && !knows(long, NOW + 60));
        assert!(knows(short, NOW + 4) && !knows(short, NOW + 5));
        assert!(!knows(in_its_leeway, NOW));
        assert!(!knows(long, NOW - 1), "a clock that was set back");
        assert!(!knows(([1; 32], 8), NOW), "other keys know nothing");
        assert!(!knows(([4; 32], 7), NOW), "another token");
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes_and_keeps_what_is_asked_for() {
        for (devices, most) in [(0, MOST), (1000, 1000)] {
            let tokens = tokens();
            let id = |number: usize| ([0; 32], number as u64);
            let asked_for = id(usize::MAX);
            let verified = verified(devices, NOW + 60);
            tokens.keep(asked_for, &verified, NOW);
            for number in 0..3 * most {
                tokens.keep(id(number), &verified, NOW);
                assert!(tokens.recall(&asked_for, NOW).is_some(), "{number}");
            }
            let (count, bytes) = (tokens.remembered.len(), tokens.remembered.weight());
            assert!(count <= most && bytes <= MAX_BYTES && bytes > MAX_BYTES * 4 / 5, "{count}, {bytes}");
        }
    }
}
