//! Whether a caller may see the report of a campaign, without asking PostgreSQL each time.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use shared::ads::CampaignId;
use shared::ads::queries::campaigns::{self, Viewer};
use shared::store::Store;
use tokio::time::Instant;

use crate::ads::commands::{about, failed, not_found};
use crate::http::problem::Problem;
use crate::http::response_budget::in_time;

/// The most owners that are remembered.
const MOST: usize = 10_000;
/// For how long. The owner of a campaign never changes; but after PostgreSQL was restored to an earlier time, another
/// campaign may get the same id.
const AGE: Duration = Duration::from_secs(60);

/// The owner of a campaign, and when that was read.
type Known = (Option<Arc<str>>, Instant);

/// The owners of campaigns.
pub(super) struct Owners {
    store: Store,
    known: Cache<CampaignId, Known>,
}

impl Owners {
    pub(super) fn new(store: Store) -> Self {
        Self { store, known: Cache::new(MOST) }
    }

    /// Refuses a campaign that does not exist, or that the viewer does not see: 404.
    pub(super) async fn allow(&self, id: CampaignId, viewer: Viewer<'_>, deadline: Instant) -> Result<(), Problem> {
        let owner = match self.known.get(&id).filter(|(_, read_at)| read_at.elapsed() < AGE) {
            Some((owner, _)) => owner,
            // Boxed: the future is large, and every hit would carry it along.
            None => in_time(deadline, Box::pin(self.read(id))).await??,
        };
        match viewer {
            Viewer::All => Ok(()),
            Viewer::Owner(own) if own == owner.as_deref() => Ok(()),
            Viewer::Owner(_) => Err(not_found().logged_about(about(id))),
        }
    }

    async fn read(&self, id: CampaignId) -> Result<Option<Arc<str>>, Problem> {
        let read_at = Instant::now();
        let found = campaigns::owner(&self.store, id).await;
        let found =
            found.map_err(|failure| failed(&failure, "read the owner of a campaign").logged_about(about(id)))?;
        // One that does not exist may be made at any time.
        let owner: Option<Arc<str>> = found.ok_or_else(|| not_found().logged_about(about(id)))?.map(Into::into);
        self.known.insert(id, (owner.clone(), read_at));
        Ok(owner)
    }
}
