//! The terms of a campaign, as its row has them.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::ads::{Nanos, Rules, Terms};
use crate::store::Failure;

/// Reads the terms from a row that has the columns of `campaigns`.
pub(super) fn read_terms(row: &PgRow) -> Result<Terms, Failure> {
    Ok(Terms {
        external_id: row.try_get("external_id")?,
        name: row.try_get("name")?,
        pricing_model: named(row, "pricing_model")?,
        unit_price: Nanos::new(row.try_get("unit_price")?),
        currency: row.try_get("currency")?,
        total_budget: Nanos::new(row.try_get("total_budget")?),
        daily_budget: row.try_get::<Option<i64>, _>("daily_budget")?.map(Nanos::new),
        cap: number(row, "cap")?,
        timezone: row.try_get("timezone")?,
        starts_at: row.try_get("starts_at")?,
        ends_at: row.try_get("ends_at")?,
        status: named(row, "status")?,
        pacing: named(row, "pacing")?,
        on_exhausted: named(row, "on_exhausted")?,
        cap_unsure: named(row, "cap_unsure")?,
        rules: Rules {
            click_requires_impression: row.try_get("click_requires_impression")?,
            duplicate_click_window: number(row, "duplicate_click_window")?,
            conversion_window: number(row, "conversion_window")?,
            user_events_per_minute: number(row, "user_events_per_minute")?,
            blocked_user_agents: row.try_get("blocked_user_agents")?,
        },
    })
}

fn named<T: FromStr<Err: Display>>(row: &PgRow, column: &str) -> Result<T, Failure> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| Failure::failed(format!("the column {column} of a campaign: {error}")))
}

fn number(row: &PgRow, column: &str) -> Result<Option<u32>, Failure> {
    let number: Option<i32> = row.try_get(column)?;
    let number = number.map(u32::try_from).transpose();
    number.map_err(|_| Failure::failed(format!("the column {column} of a campaign is negative")))
}
