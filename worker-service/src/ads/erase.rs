//! `erase-user`: erases a user of advertising.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use shared::ads::caps::{self, CapsConfig};
use shared::ads::queries::{self, Erased};
use shared::ads::{CampaignId, REPORT, UserId};
use shared::cache::{Cache, Fencer, StoresConfig};
use shared::store::Store;
use tokio::time::sleep;

use crate::consumer::registry::{OperatorCommand, Out};

/// When the sets are deleted once more. An instance of the API that read the user's rows before they were deleted may
/// fill a set with them afterwards: for two seconds at most.
const ONCE_MORE: Duration = Duration::from_secs(5);
/// How long fences that Redis did not acknowledge are repeated.
const FENCES: Duration = Duration::from_secs(5);

impl OperatorCommand for EraseUserConfig {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>> {
        erase(self, out).boxed()
    }
}

/// Erases a user's rows, leaves its tombstone, and then deletes the sets of its impressions, from which the caps are
/// counted, and fences the reports of its campaigns, whose sums stay. In this order, because a set that is absent is
/// filled from the rows. An error says what is erased and what is not.
async fn erase(config: &EraseUserConfig, out: Out<'_>) -> anyhow::Result<()> {
    let EraseUserConfig { user, stores, caps } = config;
    let store = Store::open(&stores.postgres, "worker-service erase-user")?;
    let sets = caps.open(&stores.redis)?;
    let cache = Cache::open(&stores.redis, &[&REPORT])?;
    store.check().await.context("nothing was erased: PostgreSQL is not ready")?;
    let answers = sets.incarnations().await.map_err(anyhow::Error::msg);
    let answers = answers.context("nothing was erased: the Redis of the caps does not answer")?;
    let incarnations: Vec<_> = answers.iter().map(|one| one.id.as_str()).collect();
    // Another one would acknowledge that it has none of the ids, and they would stay where they are.
    let are_unmet = queries::are_unmet(&store, &incarnations).await.context("nothing was erased")?;
    anyhow::ensure!(
        !are_unmet,
        "nothing was erased: no instance of the API has met the Redis that answers here as the one of the caps. Set \
         AD_REDIS_URL as the API has it; if that Redis was restarted or has failed over right now, repeat the command \
         once an instance of the API has met it, a second later"
    );
    cache.is_there().await.context("nothing was erased: Redis does not answer")?;
    let gone = queries::erase_user(&store, user).await.context("nothing was erased")?;
    let names = names(user, &gone)?;
    let mut uncounted = sets.delete(&names).await;
    let fencer = Fencer::new(cache, store.clone());
    let is_fenced = fencer.fence(&gone.fences).await.is_acknowledged() || fencer.finish(FENCES).await;
    if uncounted.is_ok() && !names.is_empty() {
        sleep(ONCE_MORE).await;
        uncounted = sets.delete(&names).await;
    }
    // Printed last: a closed output must not stop the erasure.
    let (events, days) = (gone.events, gone.days);
    let told = writeln!(out, "erased {user}: {events} events in {days} days of campaigns; sums stay")
        .and_then(|()| out.flush());
    uncounted.context(
        "the rows are erased, but the Redis of the caps keeps the ids of the user's impressions until the day after them",
    )?;
    let ttl = stores.redis.ttl;
    anyhow::ensure!(is_fenced, "the rows are erased, but Redis keeps older reports until their TTL of {ttl:?} ends");
    told.context("the user is erased, but the result could not be printed")?;
    store.close().await;
    Ok(())
}

fn names(user: &UserId, gone: &Erased) -> anyhow::Result<Vec<String>> {
    let name = |(campaign, day): &(i64, _)| Ok(caps::set_name(CampaignId::try_from(*campaign)?, user, *day));
    gone.sets.iter().map(name).collect()
}

/// Settings of `erase-user`.
#[derive(Debug, Clone, clap::Args)]
pub struct EraseUserConfig {
    /// The user.
    #[arg(value_name = "USER")]
    pub user: UserId,
    #[command(flatten)]
    pub stores: StoresConfig,
    #[command(flatten)]
    pub caps: CapsConfig,
}
