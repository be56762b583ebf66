//! Servers that take over from each other. What was acknowledged is not lost: promises hold through that.

use std::time::Duration;

use super::{Injection, within};
use crate::plan::Whom;

/// What the standby is behind: it hears of nothing before it takes over.
const LAG: Duration = Duration::from_secs(3600);
/// How long a copy of PostgreSQL may be tried to be made.
const COPY_TIMEOUT: Duration = Duration::from_secs(60);

impl Injection<'_> {
    /// The primary of Redis becomes a replica, and hears of nothing that its successor gets. Its name leads to it for a
    /// while, and connections stay where they are for good.
    pub(super) fn swap_redis(&self) -> anyhow::Result<()> {
        let world = self.world;
        let (primary, replica) = world.redis();
        replica.follow(primary)?;
        self.redis_away(|| {
            primary.hand_over(replica)?;
            primary.lose_primary()?;
            self.lasts();
            world.ways_of(Whom::All).for_each(|way| way.redis.lead_to(replica.port));
            world.swap_redis();
            Ok(())
        })
    }

    /// PostgreSQL's name leads some of the services to a standby that lags behind, while the others write; then the
    /// standby has all there is, and takes over.
    pub(super) fn fail_over_postgres(&self) -> anyhow::Result<()> {
        let world = self.world;
        let standby = within(COPY_TIMEOUT, || world.postgres().standby(LAG))?;
        self.postgres_away(|| {
            self.between(
                |way| &way.postgres,
                |proxy| {
                    proxy.lead_to(standby.port);
                    proxy.drop_connections();
                },
            );
            self.lasts();
            // It ends when the standby has got the last of what it wrote.
            world.postgres().stop()?;
            standby.promote()?;
            for way in world.ways_of(Whom::All) {
                way.postgres.lead_to(standby.port);
                way.postgres.drop_connections();
            }
            world.fail_over_postgres(standby);
            Ok(())
        })
    }
}
