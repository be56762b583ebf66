//! The campaigns of a run.

use serde_json::{Value, json};

use super::Advertiser;
use crate::history::ads::Created;

/// The terms of the campaigns that every run has; those that faults make come on top.
fn terms(zone: &str) -> [(&'static str, Value); 8] {
    [
        ("wide", json!({"pricing_model": "cpm", "unit_price": "0.21", "total_budget": "1000"})),
        (
            // Its price is one nano: the least amount there is.
            "capped",
            json!({
                "pricing_model": "cpm", "unit_price": "0.000001", "total_budget": "5",
                "freq_cap_impressions_per_day": 2
            }),
        ),
        (
            // Each of its impressions costs about a cent; its budgets have room for some thirty of them, and grow.
            "tight",
            json!({"pricing_model": "cpm", "unit_price": "9.072", "total_budget": "0.4", "daily_budget": "0.3"}),
        ),
        (
            "tight-capped",
            json!({
                "pricing_model": "cpm", "unit_price": "100", "total_budget": "3.05",
                "freq_cap_impressions_per_day": 3, "timezone": zone
            }),
        ),
        (
            "unsure",
            json!({
                "pricing_model": "cpm", "unit_price": "1", "total_budget": "100", "freq_cap_impressions_per_day": 3,
                "cap_unsure": "allow"
            }),
        ),
        ("clicks", json!({"pricing_model": "cpc", "unit_price": "0.7", "total_budget": "20", "daily_budget": "18"})),
        (
            "conversions",
            json!({"pricing_model": "cpa", "unit_price": "1.1", "total_budget": "12.1", "on_exhausted": "record"}),
        ),
        (
            "filtered",
            json!({
                "pricing_model": "cpc", "unit_price": "0.07", "total_budget": "50", "click_requires_impression": true,
                "duplicate_click_window_seconds": 2, "freq_cap_impressions_per_day": 2, "timezone": zone
            }),
        ),
    ]
}

/// Makes all of them. Some are in the time zone whose day ends next.
pub(super) async fn create_all(advertiser: &Advertiser<'_>) -> anyhow::Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    for (name, body) in terms(&zone_with_next_midnight(now)) {
        advertiser.create(name, body).await?;
    }
    Ok(())
}

const SMALL: &str = "small-";

/// Makes a campaign whose budget is soon spent, and never grows: one unit that is spent twice shows.
pub(super) async fn create_small(advertiser: &Advertiser<'_>, number: usize) -> anyhow::Result<()> {
    let body = json!({"pricing_model": "cpm", "unit_price": "10", "total_budget": "0.12"});
    advertiser.create(&format!("{SMALL}{number}"), body).await.map(drop)
}

/// Whether this is one of them.
pub(super) fn is_small(created: &Created) -> bool {
    created.external_id.starts_with(SMALL)
}

/// The zone of the whole hours in which midnight is at the next full hour.
fn zone_with_next_midnight(now: u64) -> String {
    let hour = (now / 3_600 + 1) % 24;
    // In these names a zone ahead of UTC has a minus.
    match hour {
        0 => "UTC".to_owned(),
        1..=12 => format!("Etc/GMT+{hour}"),
        _ => format!("Etc/GMT-{}", 24 - hour),
    }
}

/// A zone of PostgreSQL, as POSIX spells them, in which it is midnight at this second since 1970. No IANA zone has a
/// midnight in every minute.
pub fn zone_with_midnight_at(second: u64) -> String {
    let of_day = second % 86_400;
    format!("<chaos>{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    #[test]
    fn a_zone_with_a_midnight_at_the_next_hour() {
        // At 18:30 in UTC it is 23:30 in the zone that is five hours ahead, at 5:30 in the one that is six behind.
        for (now, zone) in [(18 * HOUR + 1_800, "Etc/GMT-5"), (5 * HOUR + 1_800, "Etc/GMT+6"), (23 * HOUR, "UTC")] {
            assert_eq!(zone_with_next_midnight(20_000 * 24 * HOUR + now), zone);
        }
    }

    #[test]
    fn a_zone_with_a_midnight_at_any_second() {
        assert_eq!(zone_with_midnight_at(24 * HOUR * 9 + 13 * HOUR + 5 * 60 + 7), "<chaos>13:05:07");
    }

    #[test]
    fn all_terms_are_terms() {
        for (name, body) in terms("UTC") {
            assert!(crate::history::ads::Terms::of_body(&body).is_some(), "{name}");
        }
    }
}
