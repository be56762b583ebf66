//! From a token to its caller: remembered, or verified with the keys of the moment.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::decode_header;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::jwks::Source;
use super::rejected::Rejected;
use super::verify::{Caller, MAX_TOKEN, Verified, Verifier};
use crate::config::JwtConfig;
use crate::problem::{Code, Problem};

/// How long a token counts without another look at its signature.
const REMEMBER: Duration = Duration::from_secs(60);
/// The bytes of all that is remembered, about.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// What the cache takes for each, about, beside the caller's names: so there are 32,768 at most.
const EACH: usize = 512;

/// A token's SHA-256, and the generation of the keys that it was verified with.
type Id = ([u8; 32], u64);

/// Everything that is needed to check a token.
pub struct Tokens {
    verifier: Verifier,
    pub source: Source,
    /// Tokens that were verified lately, so that a device's thousandth post does not pay for another signature. The
    /// signature is part of what is hashed. Only good tokens are remembered: nobody without one can fill this.
    remembered: Cache<Id, Verified>,
}

fn cache(time_to_live: Duration) -> Cache<Id, Verified> {
    Cache::builder()
        .max_capacity(MAX_BYTES)
        .weigher(|_, verified| bytes(&verified.caller))
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(time_to_live)
        .build()
}

fn bytes(caller: &Caller) -> u32 {
    let names = caller.roles.iter().chain(caller.devices.iter().flatten());
    let names: usize = names.map(|name| size_of::<String>() + name.len()).sum();
    u32::try_from(EACH + caller.subject.len() + names).unwrap_or(u32::MAX)
}

impl Tokens {
    pub fn new(config: &JwtConfig) -> anyhow::Result<Self> {
        Ok(Self { verifier: Verifier::new(config), source: Source::new(config)?, remembered: cache(REMEMBER) })
    }

    /// The caller that a token speaks for, at a time in seconds since the Unix epoch; 401, or 503 where it cannot be found
    /// out whether the token is good.
    pub async fn check(&self, token: &str, now: u64) -> Result<Arc<Caller>, Problem> {
        let mut checked = self.look(token, now);
        let mut later = None;
        if let Err(Rejected::UnknownKey | Rejected::NoKeys) = checked
            && let Ok(header) = decode_header(token)
        {
            later = self.source.look_again(header.alg, header.kid.as_deref()).await.err();
            checked = self.look(token, now);
        }
        checked.map_err(|rejected| {
            let (rejected, later) = match (rejected, later) {
                // It may be good: 401 would make a device throw it away.
                (Rejected::UnknownKey | Rejected::NoKeys, Some(later)) => (Rejected::NoKeys, Some(later)),
                (rejected, _) => (rejected, None),
            };
            metrics::counter!("auth_rejected_total", "reason" => rejected.reason()).increment(1);
            match later {
                Some(later) => Problem::new(Code::KeysUnavailable, rejected.to_string()).retry_after(later),
                None => Problem::new(Code::InvalidToken, rejected.to_string()),
            }
        })
    }

    fn look(&self, token: &str, now: u64) -> Result<Arc<Caller>, Rejected> {
        if token.len() > MAX_TOKEN {
            return Err(Rejected::Malformed);
        }
        let keys = self.source.keys();
        let hash = digest(&SHA256, token.as_bytes()).as_ref().try_into();
        let id = hash.ok().map(|hash| (hash, keys.generation));
        if let Some(known) = id.and_then(|id| self.recall(&id, now)) {
            return Ok(known);
        }
        let verified = self.verifier.verify(token, now, &keys)?;
        metrics::counter!("auth_verified_total").increment(1);
        if let Some(id) = id {
            self.remembered.insert(id, verified.clone());
        }
        Ok(verified.caller)
    }

    /// The caller of a token that was verified less than a minute ago and has not expired, here without leeway.
    fn recall(&self, id: &Id, now: u64) -> Option<Arc<Caller>> {
        self.remembered.get(id).filter(|known| now < known.expires).map(|known| known.caller)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::verify::tests::config;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn tokens(time_to_live: Duration) -> Tokens {
        Tokens { remembered: cache(time_to_live), ..Tokens::new(&config(None, None)).unwrap() }
    }

    fn verified(devices: usize) -> Verified {
        let devices = Some(vec!["device".to_owned(); devices]);
        let caller = Caller { subject: "s".into(), roles: vec!["device".into()], devices };
        Verified { caller: Arc::new(caller), expires: NOW + 5 }
    }

    #[test]
    fn no_longer_than_it_lives_and_never_past_its_end() {
        let (long, short) = (tokens(REMEMBER), tokens(Duration::from_millis(50)));
        let id = ([7; 32], 7);
        long.remembered.insert(id, verified(1));
        assert!(long.recall(&id, NOW + 4).is_some() && long.recall(&id, NOW + 5).is_none());
        assert!(long.recall(&([7; 32], 8), NOW).is_none(), "other keys know nothing");
        assert!(long.recall(&([8; 32], 7), NOW).is_none(), "another token");

        let start = Instant::now();
        short.remembered.insert(id, verified(1));
        while short.recall(&id, NOW).is_some() {
            assert!(start.elapsed() < Duration::from_secs(10), "it lives for ever");
            std::thread::yield_now();
        }
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn it_is_bounded_in_number_and_in_bytes_and_forgets_what_is_not_asked_for() {
        for (devices, most) in [(0, 32_768), (1000, 1000)] {
            let tokens = tokens(REMEMBER);
            let id = |number: u64| ([0; 32], number);
            let asked_for = id(u64::MAX);
            tokens.remembered.insert(asked_for, verified(devices));
            for number in 0..3 * most {
                tokens.remembered.insert(id(number), verified(devices));
                assert!(tokens.recall(&asked_for, NOW).is_some(), "{number}");
            }
            tokens.remembered.run_pending_tasks();
            assert!(tokens.recall(&id(0), NOW).is_none());
            let (count, bytes) = (tokens.remembered.entry_count(), tokens.remembered.weighted_size());
            assert!(count <= most && bytes <= MAX_BYTES && bytes > MAX_BYTES * 9 / 10, "{count}, {bytes}");
        }
    }
}
