//! Renders campaigns as JSON.

use crate::ads::queries::json::{money, nullable, time};

/// The members with the terms; `c` is the row.
macro_rules! terms {
    () => {
        concat!(
            r#"'"external_id":' || "#,
            nullable!("c.external_id"),
            r#" || ',"name":' || to_json(c.name)
            || ',"pricing_model":"' || c.pricing_model || '","unit_price":' || "#,
            money!("c.unit_price"),
            r#" || ',"total_budget":' || "#,
            money!("c.total_budget"),
            r#" || ',"daily_budget":' || coalesce("#,
            money!("c.daily_budget"),
            r#", 'null')
            || ',"freq_cap_impressions_per_day":' || coalesce(c.cap::text, 'null')
            || ',"timezone":' || to_json(c.timezone) || ',"currency":' || to_json(c.currency)
            || ',"starts_at":' || "#,
            time!("c.starts_at"),
            r#" || ',"ends_at":' || "#,
            time!("c.ends_at"),
            r#" || ',"status":"' || c.status || '","pacing":"' || c.pacing
            || '","on_exhausted":"' || c.on_exhausted || '","cap_unsure":"' || c.cap_unsure
            || '","click_requires_impression":' || c.click_requires_impression
            || ',"duplicate_click_window_seconds":' || coalesce(c.duplicate_click_window::text, 'null')
            || ',"conversion_window_seconds":' || coalesce(c.conversion_window::text, 'null')
            || ',"user_events_per_minute":' || coalesce(c.user_events_per_minute::text, 'null')
            || ',"blocked_user_agents":' || to_json(c.blocked_user_agents)"#
        )
    };
}

/// What a campaign does now. `price` is what one event costs, which needs room in both budgets: money that is reserved
/// may come back, so that it exhausts nothing.
macro_rules! state {
    () => {
        "CASE WHEN c.status = 'ended' OR c.ends_at <= statement_timestamp() THEN 'ended'
              WHEN c.status <> 'active' THEN c.status
              WHEN c.starts_at > statement_timestamp() THEN 'scheduled'
              WHEN c.spent + price > c.total_budget THEN 'exhausted'
              WHEN coalesce(today.spent, 0) + price > day_budget THEN 'day_exhausted'
              ELSE 'running' END"
    };
}

/// The campaigns for which a condition holds, rendered.
macro_rules! shown {
    ($($condition:literal),+) => {
        concat!(
            r#"SELECT c.id, c.revision, c.report_version,
                      '{"id":' || c.id || ',' || "#,
            terms!(),
            r#" || ',"state":"' || "#,
            state!(),
            r#" || '","spent":' || "#,
            money!("c.spent"),
            r#" || ',"reserved":' || "#,
            money!("c.reserved"),
            r#" || ',"remaining":' || "#,
            money!("c.total_budget - c.spent"),
            r#" || ',"revision":' || c.revision || ',"owner":' || "#,
            nullable!("c.owner"),
            r#" || ',"created_at":' || "#,
            time!("c.created_at"),
            r#" || ',"updated_at":' || "#,
            time!("c.updated_at"),
            r#" || '}' AS body
               FROM campaigns AS c
               LEFT JOIN campaign_days AS today ON today.campaign_id = c.id
                 AND today.day = (statement_timestamp() AT TIME ZONE c.timezone)::date
               CROSS JOIN LATERAL (
                 SELECT CASE c.pricing_model WHEN 'cpm' THEN c.unit_price / 1000 ELSE c.unit_price END AS price,
                        CASE WHEN today.day IS NULL THEN c.daily_budget ELSE today.budget END AS day_budget) AS one
               WHERE "#,
            $($condition),+
        )
    };
}

/// There is always a row, which says whether the server accepts writes: the rows of a server that does not may be those
/// of the old side of a switchover.
macro_rules! reading {
    ($shown:expr) => {
        concat!(
            "SELECT read_only, id, revision, report_version, body
             FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
             LEFT JOIN (",
            $shown,
            ") AS shown ON true ORDER BY id"
        )
    };
}

pub(super) const GET: &str = reading!(shown!("c.id = $1 AND ($2 OR c.owner IS NOT DISTINCT FROM $3)"));

/// The page after an id. Each is a range of an index.
macro_rules! page {
    ($whose:literal) => {
        reading!(shown!($whose, " AND c.id > $1 AND ($2::text IS NULL OR c.status = $2) ORDER BY c.id LIMIT $3"))
    };
}
pub(super) const PAGE_OF_ALL: &str = page!("true");
pub(super) const PAGE_OF_OWNER: &str = page!("c.owner = $4");
pub(super) const PAGE_OF_NOBODY: &str = page!("c.owner IS NULL");

/// Records a change: `$1` is the campaign.
pub(super) const RECORD: &str = concat!(
    "INSERT INTO campaign_changes (campaign_id, revision, changed_at, changed_by, request_id, terms, spent, reserved)
     SELECT c.id, c.revision, c.updated_at, $2, $3, ('{' || ",
    terms!(),
    " || '}')::jsonb, c.spent, c.reserved FROM campaigns AS c WHERE c.id = $1"
);
