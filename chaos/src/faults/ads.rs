//! What advertisers do, and time does, at a bad moment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devstack::psql;
use serde_json::json;
use tokio::runtime::Handle;

use super::{Injection, until_done, within};
use crate::history::ads::{MIDNIGHT, Seen, Try, decimal};
use crate::load::advertiser::{Advertiser, least_budget, zone_with_midnight_at};
use crate::load::lock;

/// The time until the APIs know of a campaign that became active, and its first events are there.
const BEFORE: Duration = Duration::from_secs(3);
/// How long the load goes on after midnight.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How many campaigns get a midnight, until events of one are accepted before it.
const MIDNIGHTS: usize = 6;
/// For how long midnights wait, all together, until ad events are accepted at all: other faults may last.
const ADMITTED_AGAIN: Duration = Duration::from_secs(30);
/// Ad events are accepted at present if one was this long ago.
const LATELY: Duration = Duration::from_secs(1);
/// How many campaigns get less money at once.
const PATCHED: usize = 3;
/// How often a budget is lowered before it is clear that others are faster.
const ATTEMPTS: usize = 10;

impl Injection<'_> {
    fn advertiser(&self) -> anyhow::Result<Advertiser<'_>> {
        Advertiser::new(self.world, self.history, self.began)
    }

    /// A campaign whose day ends soon, while its events are posted. Its zone is made for it in PostgreSQL, because no
    /// IANA zone has a midnight in every minute.
    pub(super) fn midnight(&self) -> anyhow::Result<()> {
        // Without a cap in most cases: the caps may not be known while the day ends.
        let cap = (self.step.choice % 4 == 1).then_some(2);
        let until = Instant::now() + ADMITTED_AGAIN;
        for _ in 0..MIDNIGHTS {
            let _ = within(until.saturating_duration_since(Instant::now()), || {
                let since = self.began.elapsed().saturating_sub(LATELY);
                let is_recent = |one: &&Try| one.to >= since;
                let accepts = lock(self.history).ads.tries.iter().rev().take_while(is_recent).any(Try::is_accepted);
                anyhow::ensure!(accepts, "no ad event is accepted");
                Ok(())
            });
            let name = format!("{MIDNIGHT}{}", self.began.elapsed().as_millis());
            let terms = json!({
                "pricing_model": "cpm", "unit_price": "3.3", "total_budget": "0.9", "daily_budget": "0.5",
                "freq_cap_impressions_per_day": cap, "status": "draft"
            });
            let campaign = Handle::current().block_on(self.advertiser()?.create(&name, terms))?;
            self.ends_soon(campaign)?;
            std::thread::sleep(BEFORE + self.step.lasts);
            let is_accepted = |one: &Try| one.campaign == campaign && one.is_accepted();
            if lock(self.history).ads.tries.iter().any(is_accepted) {
                break;
            }
            // Because of other faults, nothing was accepted before its midnight. So another one gets one.
        }
        std::thread::sleep(AFTERWARDS);
        Ok(())
    }

    /// Gives a campaign a time zone in which its day ends soon.
    fn ends_soon(&self, campaign: i64) -> anyhow::Result<()> {
        until_done(|| {
            let ends = SystemTime::now().duration_since(UNIX_EPOCH)? + BEFORE + self.step.lasts;
            let zone = zone_with_midnight_at(ends.as_secs());
            psql(
                &self.world.scope.database_url,
                &format!(
                    "WITH c AS (UPDATE campaigns SET timezone = '{zone}', status = 'active', revision = revision + 1,
                       report_version = report_version + 1 WHERE id = {campaign} RETURNING *)
                     INSERT INTO campaign_changes (campaign_id, revision, terms, spent, reserved)
                     SELECT h.campaign_id, c.revision, h.terms || '{{\"status\": \"active\"}}', c.spent, c.reserved
                     FROM c JOIN campaign_changes h ON h.campaign_id = c.id AND h.revision = c.revision - 1"
                ),
            )
            .map(drop)
        })
    }

    /// Budgets are lowered to what is spent and reserved, while that grows, and raised again. Returns a reason if none
    /// could be lowered.
    pub(super) fn patch_budget(&self) -> anyhow::Result<Option<String>> {
        let advertiser = self.advertiser()?;
        let campaigns: Vec<_> = {
            let history = lock(self.history);
            let created = history.ads.created.iter().filter(|created| created.terms.daily.is_none());
            created.filter_map(|created| created.campaign).collect()
        };
        let mut lowered = 0;
        for n in 0..PATCHED.min(campaigns.len()) {
            let Some(campaign) = campaigns.get((self.step.choice + n) % campaigns.len()).copied() else { continue };
            let done = Handle::current().block_on(lower(&advertiser, campaign))?;
            lowered += usize::from(done);
            self.lasts();
            let raised = |seen: &Seen| json!({"total_budget": decimal(least_budget(seen.total + seen.total / 10 + 1))});
            Handle::current().block_on(advertiser.change(campaign, raised))?;
        }
        Ok((lowered == 0).then(|| "no budget could be lowered".to_owned()))
    }
}

/// Lowers a budget as far as the answers say that it is possible.
async fn lower(advertiser: &Advertiser<'_>, campaign: i64) -> anyhow::Result<bool> {
    // One nano's worth is less than anything that was spent.
    let mut least = advertiser.change(campaign, |_| json!({"total_budget": "0.000001"})).await?;
    for _ in 0..ATTEMPTS {
        let Some(amount) = least else { return Ok(true) };
        least = advertiser.change(campaign, |_| json!({"total_budget": decimal(least_budget(amount))})).await?;
    }
    Ok(least.is_none())
}
