//! A Redis of the caps that forgets: the APIs must not take its silence for proof.

use std::time::Duration;

use super::{Injection, within};
use crate::history::Span;
use crate::load::lock;
use crate::plan::APIS;

/// The timeout for keys to be evicted.
const EVICTED: Duration = Duration::from_secs(5);

/// The timeout for all APIs to meet the Redis of the caps, and what the log says then.
const MET: Duration = Duration::from_secs(30);
const HAS_MET: &str = "met an incarnation of the caps' Redis";

impl Injection<'_> {
    /// It comes back with the data of some seconds before.
    pub(super) fn restore_redis(&self) -> anyhow::Result<()> {
        let caps = self.world.caps().0;
        caps.save()?;
        self.lasts();
        caps.restore()
    }

    /// It dies, and a replica takes over that lacks the writes of the last seconds.
    pub(super) fn fail_over_redis(&self) -> anyhow::Result<()> {
        let world = self.world;
        let (primary, replica) = world.caps();
        replica.follow(primary)?;
        replica.lose_primary()?;
        self.lasts();
        primary.kill()?;
        replica.promote()?;
        world.swap_caps();
        // It has no data, and may take over the next time.
        primary.start()
    }

    /// It evicts keys for a while. Returns a reason if it evicted none.
    pub(super) fn evict_redis(&self) -> anyhow::Result<Option<String>> {
        // An API that meets this Redis only now would take it for one that always evicts, and so for no proof.
        let all_have_met = within(MET, || {
            let apis = (0..APIS).map(|api| self.world.api(api)).collect::<anyhow::Result<Vec<_>>>()?;
            anyhow::ensure!(
                apis.iter().all(|api| api.log().contains(HAS_MET)),
                "an API has not met the Redis of the caps"
            );
            Ok(apis)
        });
        let _none_starts = match all_have_met {
            Ok(apis) => apis,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let caps = self.world.caps().0;
        let from = self.began.elapsed();
        let before = caps.evicted_keys()?;
        caps.evict()?;
        self.lasts();
        let evicted = within(EVICTED, || {
            anyhow::ensure!(caps.evicted_keys()? > before, "nothing was evicted");
            Ok(())
        });
        caps.keep_all()?;
        lock(self.history).ads.evicted.push(Span { from, to: self.began.elapsed() });
        Ok(evicted.err().map(|error| error.to_string()))
    }
}
