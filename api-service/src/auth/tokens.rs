//! From a token to its caller: remembered, or verified with the keys of the moment.

use std::sync::Arc;

use super::jwks::Source;
use super::memory::{Memory, Place};
use super::verify::{Caller, Rejected, Verifier};
use crate::config::JwtConfig;
use crate::problem::{Code, Problem};

/// When to come back while the keys are away, in seconds.
const KEYS_LATER: u32 = 5;

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
        let checked = match self.look(token, place, now) {
            Err(Rejected::UnknownKey | Rejected::NoKeys) => {
                let up_to_date = self.source.look_again().await;
                // Without the latest keys nobody can say that there is no such key.
                self.look(token, place, now).map_err(|again| match again {
                    Rejected::UnknownKey if !up_to_date => Rejected::NoKeys,
                    other => other,
                })
            }
            checked => checked,
        };
        checked.map_err(|rejected| {
            metrics::counter!("auth_rejected_total", "reason" => rejected.reason()).increment(1);
            if rejected == Rejected::NoKeys {
                // It may be good: 401 would make a device throw it away.
                return Problem::new(Code::KeysUnavailable, rejected.to_string()).retry_after(KEYS_LATER);
            }
            Problem::new(Code::InvalidToken, rejected.to_string())
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
