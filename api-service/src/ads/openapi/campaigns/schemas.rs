//! The schemas of campaigns.

use serde_json::{Map, Value, json};
use shared::ads::{CapUnsure, OnExhausted, Pacing, PricingModel, Status};

use crate::http::openapi::schemas::{PRINTABLE, object, schema};

/// The members that a new campaign must have.
const REQUIRED: [&str; 4] = ["name", "pricing_model", "unit_price", "total_budget"];
/// The members that stay as they were when the campaign was created.
const FIXED: [&str; 3] = ["external_id", "pricing_model", "currency"];
/// The members that a change cannot remove.
const KEPT: [&str; 4] = ["name", "unit_price", "total_budget", "status"];

pub(super) fn all() -> Value {
    let terms = terms();
    let or_null = |name: &str, of: &Value, kept: &[&str]| if kept.contains(&name) { of.clone() } else { nullable(of) };
    let new = terms.iter().map(|(name, of)| (name.clone(), or_null(name, of, &REQUIRED)));
    let mut new: Map<String, Value> = new.collect();
    // A new campaign has not ended.
    let status = [Some(Status::Draft), Some(Status::Active), Some(Status::Paused), None];
    let status = status.map(|status| status.map(Status::as_str));
    new.insert("status".to_owned(), json!({"enum": status, "description": "Default: `active`."}));
    let patch = terms.iter().filter(|(name, _)| !FIXED.contains(&name.as_str()));
    let patch: Map<String, Value> = patch.map(|(name, of)| (name.clone(), or_null(name, of, &KEPT))).collect();
    let shown = shown(&terms);
    let names: Vec<&str> = shown.keys().map(String::as_str).collect();
    json!({
        "Campaign": object(&names, Value::Object(shown.clone())),
        "NewCampaign": {
            "type": "object", "required": REQUIRED, "additionalProperties": false, "properties": new,
            "description": "Optional members may be null. `daily_budget` is not greater than `total_budget`, \
                `ends_at` is later than `starts_at`, and even `pacing` needs a `daily_budget`."
        },
        "CampaignPatch": {"type": "object", "additionalProperties": false, "properties": patch},
        "Campaigns": object(&["campaigns", "next"], json!({
            "campaigns": {"type": "array", "items": schema("Campaign")},
            "next": {
                "type": ["integer", "null"],
                "description": "The value of `after` for the next page; null on the last page."
            }
        })),
        "Money": {
            "type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]{0,8}[1-9])?$",
            "description": "An amount, in decimal digits, exact, without zeros at the end.", "examples": ["0.02"]
        },
        "MoneySent": sent("^$", 0),
        // Not 0, in any spelling.
        "BudgetSent": sent("^[0.]*$", 1)
    })
}

/// An amount, as it is sent: no text with the pattern `not`, and no number below `least`.
fn sent(not: &str, least: u32) -> Value {
    let text = json!({"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?$", "not": {"pattern": not}});
    json!({
        "anyOf": [text, {"type": "integer", "minimum": least, "maximum": 999_999_999}],
        "description": "Decimal digits, up to 9 before the decimal point and up to 6 behind it, as a string or as a \
            JSON number. A number may have decimals, too: it is read from its text, never through a double, and has no \
            exponent.",
        "examples": ["12.5"]
    })
}

/// The terms, as they are sent.
fn terms() -> Map<String, Value> {
    let seconds =
        |description: &str| json!({"type": "integer", "minimum": 1, "maximum": 31_536_000, "description": description});
    let most =
        |description: &str| json!({"type": "integer", "minimum": 1, "maximum": 1_000_000, "description": description});
    let money = |description: &str| json!({"$ref": "#/components/schemas/MoneySent", "description": description});
    let time = |description: &str| json!({"type": "string", "format": "date-time", "description": description});
    let terms = json!({
        "external_id": {
            "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._:-]+$",
            "description": "The caller's own id for it, unique among its campaigns: creating it again is a repeat."
        },
        "name": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": PRINTABLE},
        "pricing_model": {
            "type": "string", "enum": PricingModel::NAMES,
            "description": "What is paid for: a thousand impressions, a click, or a conversion."
        },
        "unit_price": money("The price of a thousand impressions, of a click, or of a conversion."),
        "total_budget": {
            "$ref": "#/components/schemas/BudgetSent", "description": "The most that it spends: more than 0."
        },
        "daily_budget": money("The most that it spends in a day of its time zone. Default: no limit of its own."),
        "freq_cap_impressions_per_day": most("The most impressions of a user in a day. Default: no limit."),
        "timezone": {
            "type": "string", "maxLength": 64, "pattern": r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*)*$",
            "description": "The IANA name of the time zone of its days. A day whose midnight comes twice begins with the \
                first one. Default: `UTC`.", "examples": ["Europe/Berlin"]
        },
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217. Default: `USD`."},
        "starts_at": time("When it starts. Default: at once."),
        "ends_at": time("When it ends, unless it is moved before or after that. Default: never."),
        "status": {"type": "string", "enum": Status::NAMES, "description": "Default: `active`. `ended` is final."},
        "pacing": {
            "type": "string", "enum": Pacing::NAMES,
            "description": "Whether the daily budget is spent as soon as possible, or evenly over the day, which needs \
                one. Default: `asap`."
        },
        "on_exhausted": {
            "type": "string", "enum": OnExhausted::NAMES,
            "description": "Whether conversions are refused once the budget is spent, or recorded unbilled. While \
                reserved money may come back, they are refused. Default: `refuse`."
        },
        "cap_unsure": {
            "type": "string", "enum": CapUnsure::NAMES,
            "description": "Whether capped impressions are refused or accepted while the caps cannot be proven, for \
                example after a restart of Redis; of those that are accepted, the excess is not billed. Default: \
                `refuse`."
        },
        "click_requires_impression": {
            "type": "boolean",
            "description": "Whether a click without an impression before it is invalid. Default: false."
        },
        "duplicate_click_window_seconds":
            seconds("For how long after a click another one of the same user is invalid. Default: none is."),
        "conversion_window_seconds":
            seconds("How long after the click or the impression a conversion is valid. Default: always."),
        "user_events_per_minute": most("The most events of a user in a minute; others are invalid. Default: no limit."),
        "blocked_user_agents": {
            "type": "array", "maxItems": 100,
            "items": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": PRINTABLE},
            "description": "An event whose user agent contains one of these texts, in any case, is invalid. Default: \
                none."
        }
    });
    match terms {
        Value::Object(terms) => terms,
        _ => Map::new(),
    }
}

/// The members of a campaign that is shown: the terms, and what the service adds.
fn shown(terms: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = terms.clone();
    for name in ["unit_price", "total_budget"] {
        shown.insert(name.to_owned(), schema("Money"));
    }
    shown.insert("daily_budget".to_owned(), json!({"anyOf": [schema("Money"), {"type": "null"}]}));
    for name in [
        "external_id",
        "freq_cap_impressions_per_day",
        "duplicate_click_window_seconds",
        "conversion_window_seconds",
        "user_events_per_minute",
    ] {
        shown.entry(name).and_modify(|of| *of = nullable(of));
    }
    for name in ["starts_at", "ends_at"] {
        shown.insert(name.to_owned(), json!({"anyOf": [schema("Time"), {"type": "null"}]}));
    }
    let money = |description: &str| json!({"$ref": "#/components/schemas/Money", "description": description});
    let own = json!({
        "id": {"type": "integer", "minimum": 1},
        "state": {
            "enum": ["draft", "scheduled", "running", "paused", "exhausted", "day_exhausted", "ended"],
            "description": "What it does now: its status, its times and its money together. `exhausted` and \
                `day_exhausted`: what is spent leaves no room for one more event."
        },
        "spent": money("What its events have cost."),
        "reserved": money("What the instances of this service may spend now, or have spent and not booked yet."),
        "remaining": money("`total_budget` without `spent`."),
        "revision": {"type": "integer", "minimum": 1, "description": "Grows with every change of the terms."},
        "owner": {
            "type": ["string", "null"],
            "description": "The `sub` of the token that created it; null: it was created without a token."
        },
        "created_at": schema("Time"),
        "updated_at": schema("Time")
    });
    if let Value::Object(own) = own {
        shown.extend(own);
    }
    shown
}

fn nullable(of: &Value) -> Value {
    json!({"anyOf": [of, {"type": "null"}]})
}

pub(super) fn campaign_example() -> Value {
    json!({
        "id": 1,
        "external_id": null,
        "name": "demo",
        "pricing_model": "cpm",
        "unit_price": "10",
        "total_budget": "5",
        "daily_budget": "1",
        "freq_cap_impressions_per_day": 2,
        "timezone": "UTC",
        "currency": "USD",
        "starts_at": null,
        "ends_at": null,
        "status": "active",
        "pacing": "asap",
        "on_exhausted": "refuse",
        "cap_unsure": "refuse",
        "click_requires_impression": false,
        "duplicate_click_window_seconds": null,
        "conversion_window_seconds": null,
        "user_events_per_minute": null,
        "blocked_user_agents": [],
        "state": "running",
        "spent": "0.02",
        "reserved": "0.25",
        "remaining": "4.98",
        "revision": 1,
        "owner": "alice",
        "created_at": "2026-01-02T03:04:05.678901Z",
        "updated_at": "2026-01-02T03:04:05.678901Z"
    })
}

/// Examples, by name. The page at `/docs` offers the first one.
pub(super) fn new_campaigns() -> Value {
    json!({
        "demo": {
            "summary": "A thousand impressions for 10, 1 a day, 5 in all, and two impressions a day for each user",
            "value": {
                "name": "demo", "pricing_model": "cpm", "unit_price": "10", "total_budget": "5", "daily_budget": "1",
                "freq_cap_impressions_per_day": 2
            }
        },
        "least": {
            "summary": "Required members only",
            "value": {"name": "clicks", "pricing_model": "cpc", "unit_price": "0.25", "total_budget": "100"}
        },
        "whole": {
            "summary": "With an id of the caller, and with rules about events that are not billed",
            "value": {
                "external_id": "spring-2026",
                "name": "Spring 2026",
                "pricing_model": "cpa",
                "unit_price": "12.5",
                "total_budget": "10000",
                "daily_budget": "500",
                "freq_cap_impressions_per_day": 5,
                "timezone": "Europe/Berlin",
                "currency": "EUR",
                "starts_at": "2026-03-01T00:00:00+01:00",
                "ends_at": "2026-06-01T00:00:00+02:00",
                "status": "draft",
                "pacing": "even",
                "on_exhausted": "record",
                "cap_unsure": "allow",
                "click_requires_impression": true,
                "duplicate_click_window_seconds": 30,
                "conversion_window_seconds": 2_592_000,
                "user_events_per_minute": 60,
                "blocked_user_agents": ["bot", "spider"]
            }
        }
    })
}
