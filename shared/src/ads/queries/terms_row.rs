//! Reads the terms of a campaign from its row.

use std::str::FromStr;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::ads::{CampaignId, Nanos, Rules, Terms};
use crate::store::Failure;

/// The terms in a row of `campaigns` with all its columns.
pub(super) fn read_terms(row: &PgRow) -> Result<Terms, Failure> {
    let money = |name: &str| -> Result<Nanos, Failure> { Ok(Nanos::new(row.try_get(name)?)) };
    Ok(Terms {
        external_id: row.try_get("external_id")?,
        name: row.try_get("name")?,
        pricing_model: parsed(row, "pricing_model")?,
        unit_price: money("unit_price")?,
        currency: row.try_get("currency")?,
        total_budget: money("total_budget")?,
        daily_budget: row.try_get::<Option<i64>, _>("daily_budget")?.map(Nanos::new),
        cap: number(row, "cap")?,
        timezone: row.try_get("timezone")?,
        starts_at: row.try_get("starts_at")?,
        ends_at: row.try_get("ends_at")?,
        status: parsed(row, "status")?,
        pacing: parsed(row, "pacing")?,
        on_exhausted: parsed(row, "on_exhausted")?,
        cap_unsure: parsed(row, "cap_unsure")?,
        rules: read_rules(row)?,
    })
}

/// The rules in such a row.
pub(super) fn read_rules(row: &PgRow) -> Result<Rules, Failure> {
    Ok(Rules {
        click_requires_impression: row.try_get("click_requires_impression")?,
        duplicate_click_window: number(row, "duplicate_click_window")?,
        conversion_window: number(row, "conversion_window")?,
        user_events_per_minute: number(row, "user_events_per_minute")?,
        blocked_user_agents: row.try_get("blocked_user_agents")?,
    })
}

fn number(row: &PgRow, column: &str) -> Result<Option<u32>, Failure> {
    Ok(row.try_get::<Option<i32>, _>(column)?.and_then(|number| u32::try_from(number).ok()))
}

/// A name that CHECK constraints allow. A later version may have allowed another one, and a rollback is an outage for
/// its campaigns, not a fault of their events.
fn parsed<T: FromStr>(row: &PgRow, column: &str) -> Result<T, Failure> {
    let name: &str = row.try_get(column)?;
    name.parse().map_err(|_| Failure::outage(format!("this version does not know the {column} {name:?} of a campaign")))
}

/// The id in a row; PostgreSQL counts from 1.
pub(super) fn campaign_id(id: i64) -> Result<CampaignId, Failure> {
    id.try_into().map_err(|_| Failure::outage(format!("{id} is no campaign's id")))
}
