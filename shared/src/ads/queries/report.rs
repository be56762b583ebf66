//! Reports: what a campaign's events have come to, rendered as the body for clients and the cache.

use std::sync::Arc;

use sqlx::Row as _;
use time::Date;

use super::json::{money, time};
use crate::ads::CampaignId;
use crate::store::{Failure, Loaded, Store, within_deadline};

/// The most rows of a report.
pub const MAX_REPORT_ROWS: usize = 10_000;

/// What a row of a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// A day of the campaign.
    #[default]
    Day,
    /// An hour of such a day, by its clock.
    Hour,
}

/// The part of a report that a caller asks for; by default all of it, by day, which is what the cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// The first day.
    pub from: Option<Date>,
    /// The last day.
    pub to: Option<Date>,
    /// What its rows are about.
    pub by: By,
}

/// A report, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Its body.
    Whole(Loaded),
    /// It would have more than [`MAX_REPORT_ROWS`] rows.
    TooLong,
}

/// A ratio with at most six decimals; 0 if there is nothing to divide by.
macro_rules! ratio {
    ($of:literal, $to:literal) => {
        concat!("CASE WHEN ", $to, " > 0 THEN trim_scale(round(", $of, "::numeric / ", $to, ", 6))::text ELSE '0' END")
    };
}

/// The members with the counts and sums of `s`.
macro_rules! counts {
    () => {
        concat!(
            r#"'"impressions":' || s.impressions || ',"clicks":' || s.clicks || ',"conversions":' || s.conversions
               || ',"users":' || s.users || ',"ctr":"' || "#,
            ratio!("s.clicks", "s.impressions"),
            r#" || '","cvr":"' || "#,
            ratio!("s.conversions", "s.clicks"),
            r#" || '","spend":' || "#,
            money!("s.spend"),
            r#" || ',"value":' || "#,
            money!("s.value")
        )
    };
}

/// A row: `$key` renders what it is about.
macro_rules! row {
    ($key:literal) => {
        concat!(
            r#"'{"day":"' || to_char(s.day, 'YYYY-MM-DD') || '""#,
            $key,
            r#",' || "#,
            counts!(),
            r#" || ',"void":' || s.void || '}'"#
        )
    };
}

macro_rules! sums {
    () => {
        "coalesce(sum(impressions), 0) AS impressions, coalesce(sum(clicks), 0) AS clicks,
         coalesce(sum(conversions), 0) AS conversions, coalesce(sum(users), 0) AS users,
         coalesce(sum(spend), 0) AS spend, coalesce(sum(value), 0) AS value, coalesce(sum(void), 0) AS void"
    };
}

macro_rules! invalid {
    () => {
        r#"'{' || coalesce((SELECT string_agg(to_json(reason) || ':' || events, ',' ORDER BY reason)
                            FROM ad_invalid WHERE campaign_id = c.id), '') || '}'"#
    };
}

/// What every body begins and ends with, as the cache requires.
macro_rules! body {
    ($void:literal, $invalid:expr, $rows:expr) => {
        concat!(
            r#"'{"version":' || c.report_version || ',"campaign_id":' || c.id || ',' || "#,
            counts!(),
            r#" || ',"remaining":' || "#,
            money!("c.total_budget - c.spent"),
            r#" || ',"void":' || "#,
            $void,
            " || ",
            $invalid,
            r#" || ',"rows":[' || coalesce(("#,
            $rows,
            r#"), '') || '],"updated_at":' || "#,
            time!("c.reported_at"),
            r#" || '}' AS body"#
        )
    };
}

/// The whole reports by day. It always returns a row, as [`Store::load`] requires.
const LOAD: &str = concat!(
    "SELECT read_only, c.id::text AS id, c.report_version AS version, ",
    body!(
        "c.void",
        concat!(r#"',"invalid":' || "#, invalid!()),
        concat!(
            "SELECT string_agg(",
            row!(""),
            ", ',' ORDER BY s.day) FROM (SELECT day, ",
            sums!(),
            " FROM ad_stats WHERE campaign_id = c.id GROUP BY day) AS s"
        )
    ),
    " FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) AS server
      LEFT JOIN campaigns AS c ON c.id = ANY($1::text[]::bigint[])
      CROSS JOIN LATERAL (SELECT c.impressions, c.clicks, c.conversions, c.users, c.spent AS spend, c.value) AS s"
);

/// A part of a report: `$1` is the campaign, `$2` and `$3` are its first and its last day, `$4` limits its rows. Only
/// the whole report counts the invalid events, which have no day, and knows the number of its users without counting
/// them. Users who were erased have no rows any more, but each row of a report still counts them, so that there are at
/// least as many in all.
macro_rules! part {
    ($group:literal, $key:literal) => {
        concat!(
            "WITH asked AS (
               SELECT * FROM ad_stats
               WHERE campaign_id = $1
                 AND day >= coalesce($2::date, '-infinity') AND day <= coalesce($3::date, 'infinity')
             ), parts AS (
               SELECT ", $group, ", ", sums!(), " FROM asked GROUP BY ", $group, " ORDER BY ", $group, " LIMIT $4
             )
             SELECT read_only, c.id::text AS id, c.report_version AS version, (SELECT count(*) FROM parts) AS parts, ",
            body!(
                "s.void",
                concat!(
                    r#"CASE WHEN whole THEN ',"invalid":' || "#, invalid!(), " ELSE '' END"
                ),
                concat!("SELECT string_agg(", row!($key), ", ',' ORDER BY ", $group, ") FROM parts AS s")
            ),
            " FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only,
                           $2::date IS NULL AND $3::date IS NULL AS whole) AS server
              LEFT JOIN campaigns AS c ON c.id = $1
              CROSS JOIN LATERAL (
                SELECT sums.impressions, sums.clicks, sums.conversions, sums.spend, sums.value, sums.void,
                       CASE WHEN whole THEN c.users
                            ELSE greatest(
                              (SELECT count(DISTINCT user_id) FROM ad_user_days
                               WHERE campaign_id = $1 AND day >= coalesce($2::date, '-infinity')
                                 AND day <= coalesce($3::date, 'infinity') AND impressions + clicks + conversions > 0),
                              (SELECT max(users) FROM (SELECT sum(users) AS users FROM asked GROUP BY day) AS days)
                            ) END AS users
                FROM (SELECT ", sums!(), " FROM asked) AS sums) AS s"
        )
    };
}

const BY_DAY: &str = part!("day", "");
const BY_HOUR: &str = part!("day, hour", r#","hour":' || s.hour || '"#);

/// Reads the whole reports, by day, of the campaigns with these ids.
pub async fn load_reports(store: &Store, ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    store.load(ids, LOAD).await
}

/// Reads a part of a campaign's report, if there is such a campaign.
pub async fn report(store: &Store, id: CampaignId, part: Part) -> Result<Option<Report>, Failure> {
    let sql = match part.by {
        By::Day => BY_DAY,
        By::Hour => BY_HOUR,
    };
    // One more, which shows that there are more.
    let limit = i64::try_from(MAX_REPORT_ROWS).unwrap_or(i64::MAX).saturating_add(1);
    let query = sqlx::query(sql).bind(id.get()).bind(part.from).bind(part.to).bind(limit);
    let row = within_deadline!(store, |tx| async { Ok(query.fetch_one(tx).await?) })?;
    if row.try_get("read_only")? {
        return Err(Failure::read_only());
    }
    let Some(id) = row.try_get::<Option<&str>, _>("id")? else { return Ok(None) };
    if row.try_get::<i64, _>("parts")? == limit {
        return Ok(Some(Report::TooLong));
    }
    Ok(Some(Report::Whole(Loaded { id: id.into(), version: row.try_get("version")?, body: row.try_get("body")? })))
}
