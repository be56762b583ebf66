//! Failovers. No acknowledged write is lost, so the promises hold.

use std::time::Duration;

use super::{Injection, within};
use crate::plan::Target;

/// The standby's replay delay: it applies nothing before it takes over.
const LAG: Duration = Duration::from_secs(3600);
/// The timeout of copying PostgreSQL, all attempts together.
const COPY_TIMEOUT: Duration = Duration::from_secs(60);

impl Injection<'_> {
    /// The primary Redis becomes a replica that does not get its successor's writes. Its name still resolves to it for
    /// a while, and open connections stay on it.
    pub(super) fn swap_redis(&self) -> anyhow::Result<()> {
        let world = self.world;
        let (primary, replica) = world.redis();
        replica.follow(primary)?;
        self.redis_away(|| {
            primary.hand_over(replica)?;
            primary.lose_primary()?;
            self.lasts();
            world.proxies_of(Target::All).for_each(|proxies| proxies.redis.lead_to(replica.port));
            world.swap_redis();
            Ok(())
        })
    }

    /// PostgreSQL's name leads some of the services to a lagging standby while the others write; then the standby
    /// catches up and takes over.
    pub(super) fn fail_over_postgres(&self) -> anyhow::Result<()> {
        let world = self.world;
        let standby = within(COPY_TIMEOUT, || world.postgres().standby(LAG))?;
        self.postgres_away(|| {
            self.between(
                |proxies| vec![&proxies.postgres],
                |proxy| {
                    proxy.lead_to(standby.port);
                    proxy.drop_connections();
                },
            );
            self.lasts();
            // A fast shutdown ends only after the standby has received all WAL.
            world.postgres().stop()?;
            standby.promote()?;
            for proxies in world.proxies_of(Target::All) {
                proxies.postgres.lead_to(standby.port);
                proxies.postgres.drop_connections();
            }
            world.fail_over_postgres(standby);
            Ok(())
        })
    }
}
