//! Money and terms as the API writes them. The harness reads them by itself: what it checks must not parse its own
//! answers.

use serde_json::Value;

use super::{Pricing, Terms};

/// The nanos of an amount: a decimal text, or a whole number.
pub fn nanos(amount: &Value) -> Option<i64> {
    let text = match amount {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let part: i64 = format!("{part:0<9}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part)
}

/// An amount as decimal text.
pub fn decimal(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Terms {
    /// The terms in the body of a campaign; `None` if a member is missing.
    pub fn of_body(body: &Value) -> Option<Self> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let is_set = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
        let blocked = body.get("blocked_user_agents").and_then(Value::as_array).is_some_and(|texts| !texts.is_empty());
        let windows = ["duplicate_click_window", "conversion_window", "user_events_per_minute"];
        let optional = |name: &str| body.get(name).filter(|value| !value.is_null());
        Some(Self {
            pricing: match text("pricing_model")? {
                "cpm" => Pricing::Cpm,
                "cpc" => Pricing::Cpc,
                "cpa" => Pricing::Cpa,
                _ => return None,
            },
            price: nanos(body.get("unit_price")?)?,
            total: nanos(body.get("total_budget")?)?,
            daily: optional("daily_budget").map(nanos).map_or(Some(None), |daily| daily.map(Some))?,
            cap: optional("freq_cap_impressions_per_day").and_then(Value::as_u64).map(usize::try_from).transpose().ok()?,
            status: text("status").unwrap_or("active").to_owned(),
            allows: text("cap_unsure") == Some("allow"),
            records: text("on_exhausted") == Some("record"),
            filters: blocked
                || windows.iter().any(|window| is_set(window))
                || body.get("click_requires_impression") == Some(&Value::Bool(true)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_read_to_the_nano() {
        for (amount, expected) in [
            (json!("0"), 0),
            (json!("12.000001"), 12_000_001_000),
            (json!("0.29"), 290_000_000),
            (json!(5), 5_000_000_000),
            (json!("0.000000001"), 1),
        ] {
            assert_eq!(nanos(&amount), Some(expected), "{amount}");
        }
        for amount in [json!("-1"), json!("1e3"), json!(""), json!(".5"), json!("0.0000000001"), json!(null), json!("x")] {
            assert_eq!(nanos(&amount), None, "{amount}");
        }
        for (nanos, text) in [(0, "0"), (20_000_000, "0.02"), (5_000_000_000, "5"), (1, "0.000000001")] {
            assert_eq!(decimal(nanos), text);
        }
    }

    #[test]
    fn terms_are_read_from_a_body() {
        let body = json!({
            "name": "demo", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5", "daily_budget": null,
            "freq_cap_impressions_per_day": 2, "status": "draft", "cap_unsure": "allow", "conversion_window": 9
        });
        let terms = Terms::of_body(&body).unwrap();
        assert_eq!((terms.price, terms.total, terms.daily, terms.cap), (10_000_000_000, 5_000_000_000, None, Some(2)));
        assert_eq!((terms.status.as_str(), terms.allows, terms.records, terms.filters), ("draft", true, false, true));
        assert_eq!(Terms::of_body(&json!({"pricing_model": "cpm", "unit_price": "10"})), None);
    }
}
