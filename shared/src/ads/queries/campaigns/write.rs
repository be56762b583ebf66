//! Writes the terms of a campaign.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::ads::{Nanos, Rules, Terms};

/// The columns with the terms.
macro_rules! columns {
    () => {
        "external_id, name, pricing_model, unit_price, currency, total_budget, daily_budget, cap, timezone, starts_at,
         ends_at, status, pacing, on_exhausted, cap_unsure, click_requires_impression, duplicate_click_window,
         conversion_window, user_events_per_minute, blocked_user_agents"
    };
}

/// Their values, as [`bind`] binds them.
macro_rules! values {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20"
    };
}

/// `$21` is the owner.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO campaigns (",
    columns!(),
    ", owner) VALUES (",
    values!(),
    ", $21) RETURNING id, revision, updated_at"
);

/// `$21` is the campaign. A report has something of the terms, so it changes, too.
pub(super) const UPDATE: &str = concat!(
    "UPDATE campaigns SET (",
    columns!(),
    ") = ROW(",
    values!(),
    "), revision = revision + 1, report_version = report_version + 1,
     updated_at = statement_timestamp(), reported_at = statement_timestamp()
     WHERE id = $21 RETURNING id, revision, updated_at"
);

pub(super) fn bind<'q>(query: Query<'q, Postgres, PgArguments>, terms: &'q Terms) -> Query<'q, Postgres, PgArguments> {
    let Rules {
        click_requires_impression,
        duplicate_click_window,
        conversion_window,
        user_events_per_minute,
        blocked_user_agents,
    } = &terms.rules;
    query
        .bind(terms.external_id.as_deref())
        .bind(&terms.name)
        .bind(terms.pricing_model.as_str())
        .bind(terms.unit_price.get())
        .bind(&terms.currency)
        .bind(terms.total_budget.get())
        .bind(terms.daily_budget.map(Nanos::get))
        .bind(number(terms.cap))
        .bind(&terms.timezone)
        .bind(terms.starts_at)
        .bind(terms.ends_at)
        .bind(terms.status.as_str())
        .bind(terms.pacing.as_str())
        .bind(terms.on_exhausted.as_str())
        .bind(terms.cap_unsure.as_str())
        .bind(*click_requires_impression)
        .bind(number(*duplicate_click_window))
        .bind(number(*conversion_window))
        .bind(number(*user_events_per_minute))
        .bind(blocked_user_agents)
}

/// A number as its column has it: [`Terms::parse`] takes none that is greater.
pub(super) fn number(number: Option<u32>) -> Option<i32> {
    number.map(|number| i32::try_from(number).unwrap_or(i32::MAX))
}
