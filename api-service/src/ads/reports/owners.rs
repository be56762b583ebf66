//! Whether a caller may see the report of a campaign, without asking PostgreSQL each time.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use shared::ads::CampaignId;
use shared::ads::queries::campaigns::{self, Viewer};
use shared::store::Store;
use tokio::time::{Instant, timeout};

use crate::ads::commands::{about, failed, not_found};
use crate::http::problem::Problem;
use crate::http::response_budget::in_time;

/// The most owners that are remembered.
const MOST: usize = 10_000;
/// For how long. The owner of a campaign never changes; but after PostgreSQL was restored to an earlier time, another
/// campaign may get the same id.
const AGE: Duration = Duration::from_secs(60);
/// How long it may take to read a known owner again. If PostgreSQL is away, the known one still holds: a cached report
/// is shown all the same.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// For how long it then holds.
const AWAY: Duration = Duration::from_secs(5);

/// The owner of a campaign, if somebody owns it.
type Owner = Option<Arc<str>>;
/// An owner, and until when that holds.
type Known = (Owner, Instant);

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
        let known = self.known.get(&id);
        let owner = match known {
            Some((owner, until)) if Instant::now() < until => owner,
            // Boxed: the future is large, and every hit would carry it along.
            known => in_time(deadline, Box::pin(self.read(id, known))).await??,
        };
        match viewer {
            Viewer::All => Ok(()),
            Viewer::Owner(own) if own == owner.as_deref() => Ok(()),
            Viewer::Owner(_) => Err(not_found().logged_about(about(id))),
        }
    }

    async fn read(&self, id: CampaignId, known: Option<Known>) -> Result<Owner, Problem> {
        let read_at = Instant::now();
        let reading = campaigns::owner(&self.store, id);
        let found = match known {
            Some((owner, _)) => match timeout(READ_AGAIN, reading).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) | Err(_) => {
                    self.known.insert(id, (owner.clone(), Instant::now() + AWAY));
                    return Ok(owner);
                }
            },
            None => reading
                .await
                .map_err(|failure| failed(&failure, "read the owner of a campaign").logged_about(about(id)))?,
        };
        // One that does not exist may be made at any time.
        let owner: Owner = found.ok_or_else(|| not_found().logged_about(about(id)))?.map(Into::into);
        self.known.insert(id, (owner.clone(), read_at + AGE));
        Ok(owner)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use clap::Parser;
    use shared::store::PostgresConfig;

    use super::*;

    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        postgres: PostgresConfig,
    }

    #[tokio::test]
    async fn a_known_owner_holds_while_postgresql_is_away() {
        let settings = Settings::try_parse_from(["test", "--database-url=postgres://127.0.0.1:1/x"]).unwrap();
        let owners = Owners::new(Store::open(&settings.postgres, "test").unwrap());
        let [known, unknown] = [1, 2].map(|id| CampaignId::try_from(id).unwrap());
        owners.known.insert(known, (Some("alice".into()), Instant::now() - AGE));
        let until = Instant::now() + Duration::from_secs(60);
        owners.allow(known, Viewer::Owner(Some("alice")), until).await.unwrap();
        let other = owners.allow(known, Viewer::Owner(Some("bob")), until).await.unwrap_err();
        assert_eq!(other.into_response().status(), 404);
        let away = owners.allow(unknown, Viewer::Owner(Some("alice")), until).await.unwrap_err();
        assert_eq!(away.into_response().status(), 503);
    }
}
