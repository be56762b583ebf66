//! The query of a report.

use axum::http::Uri;
use shared::ads::queries::{By, MAX_REPORT_ROWS, Part};
use time::Date;
use time::macros::{date, format_description};

use crate::http::parameters::Parameters;
use crate::http::problem::{Code, Problem};

/// The first day that a caller can name; the last one is the last with a year of four digits.
pub(in crate::ads) const FIRST_DAY: Date = date!(0001 - 01 - 01);

/// The part of a report that is asked for.
pub(super) fn part(uri: &Uri) -> Result<Part, Problem> {
    let given = Parameters::of(uri);
    let day = |name| given.get(name, "a date, such as 2026-01-31", day);
    let (from, to) = (day("from")?, day("to")?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::new(Code::BAD_REQUEST, "from must not be later than to"));
    }
    let by = |text: &str| match text {
        "day" => Some(By::Day),
        "hour" => Some(By::Hour),
        _ => None,
    };
    Ok(Part { from, to, by: given.get("by", "day or hour", by)?.unwrap_or_default() })
}

fn day(text: &str) -> Option<Date> {
    // Without this, there could be a sign.
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then_some(())?;
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok().filter(|day| *day >= FIRST_DAY)
}

/// The report has too many rows for one answer.
pub(super) fn too_long() -> Problem {
    let detail = format!("the report has more than {MAX_REPORT_ROWS} rows: ask for fewer days, with from and to");
    Problem::new(Code::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Part, Problem> {
        part(&format!("/report/campaign/1?{query}").parse().unwrap())
    }

    #[test]
    fn the_query() {
        let (first, last) = (Some(date!(2026 - 01 - 31)), Some(date!(2026 - 02 - 01)));
        for (query, expected) in [
            ("", Part::default()),
            ("by=day&_=1", Part::default()),
            ("by=hour", Part { by: By::Hour, ..Part::default() }),
            ("from=2026-01-31", Part { from: first, ..Part::default() }),
            ("from=2026-01-31&to=2026-01-31", Part { from: first, to: first, by: By::Day }),
            ("to=2026-02-01&by=hour&from=2026-01-31", Part { from: first, to: last, by: By::Hour }),
        ] {
            assert_eq!(asked(query).unwrap(), expected, "{query}");
        }
        for (query, name) in [
            ("from=2026-02-30", "from"),
            ("from=2026-1-31", "from"),
            ("from=0000-12-31", "from"),
            ("from=%2B2026-01-31", "from"),
            ("from=-001-01-31", "from"),
            ("from=2026-01-31T00:00:00Z", "from"),
            ("to=", "to"),
            ("to=today", "to"),
            ("from=2026-02-01&to=2026-01-31", "from must not be later than to"),
            ("by=week", "by must be day or hour"),
            ("by=day&by=day", "by"),
        ] {
            let problem = String::from_utf8(asked(query).unwrap_err().body("r")).unwrap();
            assert!(problem.contains(name) && problem.contains("bad_request"), "{query}: {problem}");
        }
    }
}
