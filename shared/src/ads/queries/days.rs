//! When a campaign's day begins, in SQL.

/// The first instant of a date in a time zone, which is the column `timezone`. Where the clock is put back over midnight,
/// that day's midnight comes twice, and `AT TIME ZONE` alone has the second one.
macro_rules! first_instant {
    ($date:literal) => {
        concat!(
            "(SELECT CASE WHEN earlier AT TIME ZONE timezone = midnight THEN earlier ELSE later END
              FROM (SELECT midnight, later,
                           -- Before it by as much as the clock was put back in the hours before it.
                           later - ((later - interval '3h') AT TIME ZONE timezone + interval '3h'
                                    - later AT TIME ZONE timezone) AS earlier
                    FROM (SELECT midnight, midnight AT TIME ZONE timezone AS later
                          FROM (SELECT (",
            $date,
            ")::timestamp AS midnight) AS of_date) AS one) AS two)"
        )
    };
}
pub(super) use first_instant;

#[cfg(test)]
mod tests {
    use devstack::kit::scope;
    use sqlx::PgPool;
    use time::macros::{date, datetime};
    use time::{Date, OffsetDateTime};

    const FIRST: &str = concat!(
        "SELECT ",
        first_instant!("day"),
        " FROM unnest($1::text[], $2::date[]) WITH ORDINALITY AS asked (timezone, day, place) ORDER BY place"
    );

    #[tokio::test]
    async fn of_two_midnights_the_first_one_begins_the_day() {
        let pool = PgPool::connect(&scope("ads_midnights").await.database_url).await.unwrap();
        let cases = [
            ("America/Havana", date!(2026 - 11 - 01), datetime!(2026-11-01 04:00 UTC)),
            ("America/Havana", date!(2027 - 11 - 07), datetime!(2027-11-07 04:00 UTC)),
            ("Atlantic/Azores", date!(2026 - 10 - 25), datetime!(2026-10-25 00:00 UTC)),
            ("Atlantic/Azores", date!(2027 - 10 - 31), datetime!(2027-10-31 00:00 UTC)),
            // The days after them.
            ("America/Havana", date!(2026 - 11 - 02), datetime!(2026-11-02 05:00 UTC)),
            ("Atlantic/Azores", date!(2026 - 10 - 26), datetime!(2026-10-26 01:00 UTC)),
            // There is no midnight: the clock is put forward.
            ("America/Havana", date!(2026 - 03 - 08), datetime!(2026-03-08 05:00 UTC)),
            // The clock is put back to 23:00 at midnight, which then comes once.
            ("America/Nuuk", date!(2026 - 10 - 25), datetime!(2026-10-25 02:00 UTC)),
            // The clock is put back to 23:01 at 00:01.
            ("NST3:30NDT,M4.1.0/0:01,M10.5.0/0:01", date!(2026 - 10 - 25), datetime!(2026-10-25 02:30 UTC)),
            // A date that there was not, and one that came twice.
            ("Pacific/Apia", date!(2011 - 12 - 30), datetime!(2011-12-30 10:00 UTC)),
            ("Pacific/Kwajalein", date!(1969 - 09 - 30), datetime!(1969-09-29 13:00 UTC)),
        ];
        let (zones, days): (Vec<&str>, Vec<Date>) = cases.iter().map(|(zone, day, _)| (*zone, *day)).unzip();
        let found: Vec<OffsetDateTime> =
            sqlx::query_scalar(FIRST).bind(zones).bind(days).fetch_all(&pool).await.unwrap();
        for ((zone, day, expected), found) in cases.into_iter().zip(found) {
            assert_eq!(found, expected, "{zone} {day}");
        }
    }

    /// Each day of two years, in every time zone: it has its date, and a moment before it is another day.
    #[tokio::test]
    async fn every_day_of_every_zone_begins_with_its_first_instant() {
        let pool = PgPool::connect(&scope("ads_all_midnights").await.database_url).await.unwrap();
        const WRONG: &str = concat!(
            "WITH zones AS (SELECT name AS timezone FROM pg_timezone_names WHERE name !~ '^(posix|right)/'),
             days AS MATERIALIZED (
               SELECT timezone, day::date AS day, ",
            first_instant!("day::date"),
            " AS begins FROM zones, generate_series('2026-01-01'::timestamp, '2027-12-31', '1 day') AS day
             )
             SELECT count(*), count(*) FILTER (WHERE is_wrong), coalesce(min(what) FILTER (WHERE is_wrong), '')
             FROM (SELECT (begins AT TIME ZONE timezone)::date <> day
                          OR ((begins - interval '1 microsecond') AT TIME ZONE timezone)::date >= day AS is_wrong,
                          concat_ws(' ', timezone, day, begins) AS what FROM days) AS all_days"
        );
        let (all, wrong, first): (i64, i64, String) = sqlx::query_as(WRONG).fetch_one(&pool).await.unwrap();
        assert!(all > 300 * 730, "{all}");
        assert_eq!(wrong, 0, "{first}");
    }
}
