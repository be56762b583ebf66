//! Advertisers make campaigns and change their budgets; trackers post their events; readers poll campaigns and reports.

mod campaigns;
mod client;
mod tracker;
mod watcher;

use std::time::Duration;

pub use self::campaigns::zone_with_midnight_at;
use self::campaigns::{create_all, create_small, is_small};
pub use self::client::{Advertiser, TooLong};
pub use self::watcher::least_budget;
use super::{Client, lock};

/// How many trackers post events.
pub(super) const TRACKERS: usize = 16;
/// How many readers poll campaigns and reports.
pub(super) const READERS: usize = 2;
/// The timeout of advertisers and trackers.
pub(super) const TIMEOUT: Duration = Duration::from_secs(8);

impl Client {
    /// A campaign, of the newest ones more often: they are small, or their day ends soon.
    pub(super) fn campaign(&self, random: &mut fastrand::Rng) -> Option<i64> {
        const NEWEST: usize = 2;
        let history = lock(&self.history);
        let created = history.ads.created.iter();
        let mut campaigns: Vec<_> = created.filter_map(|made| Some((made.campaign?, is_small(made)))).collect();
        campaigns.dedup();
        if random.usize(..4) > 0 {
            campaigns.retain(|(_, is_small)| !is_small);
        }
        let newest = campaigns.get(campaigns.len().saturating_sub(NEWEST)..).unwrap_or_default();
        let from = if random.usize(..4) == 0 { newest } else { &campaigns };
        random.choice(from).map(|(campaign, _)| *campaign)
    }
}
