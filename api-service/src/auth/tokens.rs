//! From a token to its caller: remembered, or verified with the keys of the moment.

use std::sync::Arc;

use jsonwebtoken::decode_header;

use super::jwks::Source;
use super::memory::{Memory, Place};
use super::verify::{Caller, Rejected, Verifier};
use crate::config::JwtConfig;
use crate::problem::{Code, Problem};

/// Everything that is needed to check a token.
pub struct Tokens {
    verifier: Verifier,
    /// The keys.
    pub source: Source,
    memory: Memory,
}

impl Tokens {
    /// For these settings.
    ///
    /// # Errors
    /// One clear line where one is wrong.
    pub fn new(config: &JwtConfig) -> anyhow::Result<Self> {
        Ok(Self { verifier: Verifier::new(config), source: Source::new(config)?, memory: Memory::default() })
    }

    /// The caller that a token speaks for, at a time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// 401; 503 where it cannot be found out whether the token is good.
    pub async fn check(&self, token: &str, now: u64) -> Result<Arc<Caller>, Problem> {
        let place = Place::of(token);
        let mut checked = self.look(token, place, now);
        let mut later = None;
        if let Err(Rejected::UnknownKey | Rejected::NoKeys) = checked {
            let kid = decode_header(token).ok().and_then(|header| header.kid);
            later = self.source.look_again(kid.as_deref()).await.err();
            checked = self.look(token, place, now);
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

    fn look(&self, token: &str, place: Option<Place>, now: u64) -> Result<Arc<Caller>, Rejected> {
        let keys = self.source.keys();
        if let Some(known) = place.and_then(|place| self.memory.recall(place, now, keys.generation)) {
            return Ok(known);
        }
        let verified = self.verifier.verify(token, now, &keys)?;
        metrics::counter!("auth_verified_total").increment(1);
        let caller = Arc::new(verified.caller);
        if let Some(place) = place {
            self.memory.keep(place, &caller, verified.expires, now, keys.generation);
        }
        Ok(caller)
    }
}
