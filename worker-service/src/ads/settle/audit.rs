//! Checks the books of all campaigns, some at a time: the sums of a campaign's life take a while.

use metrics::gauge;
use shared::ads::queries;
use shared::store::{Failure, Store};

use super::TASK;

/// The campaigns that are checked at once.
const MOST: u32 = 200;

/// A round through all campaigns.
#[derive(Default)]
pub(super) struct Audit {
    /// Campaigns up to this one were checked in this round.
    after: i64,
    /// How many break an invariant, of this round so far and of the one before.
    found: usize,
    before: usize,
}

impl Audit {
    /// Checks the next campaigns. What a round has found is shown until the next one has ended.
    pub(super) async fn look(&mut self, store: &Store) -> Result<(), Failure> {
        let queries::Audit { broken, next } = queries::audit(store, self.after, MOST).await?;
        self.after = next;
        self.found += broken.len();
        if !broken.is_empty() {
            tracing::error!(task = TASK, campaigns = ?broken, "the books of campaigns break an invariant");
        }
        gauge!("ads_budget_violations").set(self.found.max(self.before) as f64);
        if next == 0 {
            (self.before, self.found) = (self.found, 0);
        }
        Ok(())
    }
}
