//! Changes the terms of a campaign.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::Date;

use super::publish::publish;
use super::write::{UPDATE, bind, number};
use super::{Actor, BelowSpend, ChangeError, Shown, Viewer, ZONE, read_back, record, zone};
use crate::ads::published::{CAMPAIGN_ENDED, CAMPAIGN_UPDATED};
use crate::ads::queries::terms_row::read_terms;
use crate::ads::{CampaignId, Nanos, Patch, Status, Terms};
use crate::runtime::json::Fault;
use crate::store::{Failure, Store, Tx, Work};

/// Changes a campaign that the viewer sees, if `may` takes its revision, which is read under the lock. A change without
/// a difference makes no new revision.
///
/// A budget can be lowered to what is spent and reserved, and no further. A cap that is lowered holds for what is
/// accepted afterwards.
pub async fn change(
    store: &Store,
    id: CampaignId,
    viewer: Viewer<'_>,
    may: &(dyn Fn(i64) -> bool + Sync),
    patch: &Patch,
    actor: Actor<'_>,
) -> Result<Shown, ChangeError> {
    store.transact("", &Change { id: id.get(), viewer, may, patch, actor }).await?
}

struct Change<'a> {
    id: i64,
    viewer: Viewer<'a>,
    may: &'a (dyn Fn(i64) -> bool + Sync),
    patch: &'a Patch,
    actor: Actor<'a>,
}

/// Who changes the money of a campaign, or of one of its days, locks this row first.
const LOCK: &str = "
    SELECT c.* FROM campaigns AS c WHERE c.id = $1 AND ($2 OR c.owner IS NOT DISTINCT FROM $3) FOR NO KEY UPDATE";

/// The day that the campaign has now, and whether it ever had one. A statement of its own, which sees what others wrote
/// while they had the lock.
const DAYS: &str = "
    SELECT today, coalesce(d.spent + d.reserved, 0) AS used,
           EXISTS (SELECT FROM campaign_days WHERE campaign_id = $1) AS has_days
    FROM (SELECT (statement_timestamp() AT TIME ZONE $2)::date AS today) AS now
    LEFT JOIN campaign_days AS d ON d.campaign_id = $1 AND d.day = today";

/// A day that has no row yet has no events either, and will be made with the new terms.
const UPDATE_DAY: &str = "
    UPDATE campaign_days SET budget = $3, cap = CASE WHEN cap IS NULL OR $4::integer IS NULL THEN NULL
                                                     ELSE greatest(cap, $4) END
    WHERE campaign_id = $1 AND day = $2";

/// What has been used of a campaign's money, and the day that it has now.
struct Used {
    total: Nanos,
    day: Nanos,
    today: Date,
    has_days: bool,
}

impl Used {
    async fn of(tx: &mut Tx<'_>, id: i64, locked: &PgRow, terms: &Terms) -> Result<Self, Failure> {
        let (spent, reserved): (i64, i64) = (locked.try_get("spent")?, locked.try_get("reserved")?);
        let row = sqlx::query(DAYS).bind(id).bind(&terms.timezone).fetch_one(tx).await?;
        Ok(Self {
            total: Nanos::new(spent.saturating_add(reserved)),
            day: Nanos::new(row.try_get("used")?),
            today: row.try_get("today")?,
            has_days: row.try_get("has_days")?,
        })
    }

    /// The budgets that are less than what is used of them.
    fn below_spend(&self, terms: &Terms) -> Vec<BelowSpend> {
        let of_day = terms.daily_budget.map(|budget| ("/daily_budget", budget, self.day));
        let all = [Some(("/total_budget", terms.total_budget, self.total)), of_day].into_iter().flatten();
        let below = all.filter(|(_, budget, least)| budget < least);
        below.map(|(pointer, _, least)| BelowSpend { pointer, least: least.sendable() }).collect()
    }
}

impl Change<'_> {
    /// The terms after the change; `None` if there is no difference.
    async fn changed(
        &self,
        tx: &mut Tx<'_>,
        terms: &Terms,
        used: &Used,
    ) -> Result<Result<Option<Terms>, ChangeError>, Failure> {
        let (changed, mut faults) = self.patch.apply(terms);
        if faults.is_empty() && changed == *terms {
            return Ok(Ok(None));
        }
        if terms.status == Status::Ended {
            return Ok(Err(ChangeError::Ended));
        }
        if let Some(zone) = self.patch.timezone().filter(|zone| *zone != terms.timezone) {
            if used.has_days {
                let detail = "cannot be changed any more: the campaign has had a day in its time zone";
                faults.push(Fault { pointer: ZONE.to_owned(), detail: detail.to_owned() });
            } else {
                faults.extend(zone::fault(tx, zone).await?);
            }
        }
        let below = used.below_spend(&changed);
        Ok(match (faults.is_empty(), below.is_empty()) {
            (true, true) => Ok(Some(changed)),
            (true, false) => Err(ChangeError::BelowSpend(below)),
            (false, _) => {
                faults.extend(below.into_iter().map(Fault::from));
                Err(ChangeError::Faults(faults))
            }
        })
    }
}

impl Work for Change<'_> {
    type Output = Result<Shown, ChangeError>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Failure> {
        let Self { id, viewer, may, actor, .. } = *self;
        let (all, owner) = viewer.parts();
        let locked = sqlx::query(LOCK).bind(id).bind(all).bind(owner).fetch_optional(&mut *tx).await?;
        let Some(locked) = locked else { return Ok(Err(ChangeError::NotFound)) };
        if !may(locked.try_get("revision")?) {
            return Ok(Err(ChangeError::Stale));
        }
        let terms = read_terms(&locked)?;
        let used = Used::of(tx, id, &locked, &terms).await?;
        let changed = match self.changed(tx, &terms, &used).await? {
            Ok(changed) => changed,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(terms) = changed {
            let written = bind(sqlx::query(UPDATE), &terms).bind(id).fetch_one(&mut *tx).await?;
            let day = sqlx::query(UPDATE_DAY).bind(id).bind(used.today);
            let day = day.bind(terms.daily_budget.map(Nanos::get)).bind(number(terms.cap));
            day.execute(&mut *tx).await?;
            record(tx, id, actor).await?;
            // Of one that has ended already, nothing changes.
            let schema = if terms.status == Status::Ended { &CAMPAIGN_ENDED } else { &CAMPAIGN_UPDATED };
            publish(tx, schema, &written, locked.try_get("owner")?, &terms, actor.cause).await?;
        }
        read_back(tx, id).await.map(Ok)
    }
}
