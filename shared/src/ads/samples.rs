//! Campaigns for tests.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use time::{Duration, OffsetDateTime};

use super::{CapUnsure, Nanos, OnExhausted, Pacing, PricingModel, Rules, Status, Terms};

/// A campaign without what is optional.
pub(super) fn campaign() -> Terms {
    let body = r#"{"name":"demo","pricing_model":"cpm","unit_price":"10","total_budget":"5"}"#;
    Terms::parse(&body.into()).unwrap()
}

/// A member and its value, and the pointer of its fault.
pub(super) type Wrong = ((&'static str, &'static str), &'static str);

/// Members that make a campaign invalid, each with the pointer of its fault: by their own value, or with the other members
/// of [`campaign`].
pub(super) const FAULTS: [Wrong; 12] = [
    (("name", r#""""#), "/name"),
    (("unit_price", r#""1e2""#), "/unit_price"),
    (("total_budget", "-1"), "/total_budget"),
    (("daily_budget", r#""100""#), "/daily_budget"),
    (("daily_budget", r#""1.0000001""#), "/daily_budget"),
    (("freq_cap_impressions_per_day", "0"), "/freq_cap_impressions_per_day"),
    (("timezone", r#""+01:00""#), "/timezone"),
    (("starts_at", r#""2026-13-01""#), "/starts_at"),
    (("pacing", r#""fast""#), "/pacing"),
    (("on_exhausted", "7"), "/on_exhausted"),
    (("blocked_user_agents", r#"[""]"#), "/blocked_user_agents/0"),
    (("spent", r#""1""#), "/spent"),
];

/// The pairs of [`FAULTS`], and of more of them, that are about different members. A total that could not be read says
/// nothing about a daily budget.
pub(super) fn pairs_of_faults(more: &[Wrong]) -> Vec<[Wrong; 2]> {
    let all = [&FAULTS, more].concat();
    let pairs = all.iter().enumerate().flat_map(|(at, one)| all.iter().skip(at + 1).map(|other| [*one, *other]));
    let differ =
        |[(one, _), (other, _)]: &[Wrong; 2]| one.0 != other.0 && (one.0, other.1) != ("total_budget", r#""100""#);
    pairs.filter(differ).collect()
}

/// All terms of new campaigns.
pub(super) fn terms() -> impl Strategy<Value = Terms> {
    let words = (
        option::of("[A-Za-z0-9._:-]{1,64}"),
        "[ -~\u{e4}\u{1f600}]{1,40}",
        "[A-Z]{3}",
        "[A-Z][a-z_]{1,9}(/[A-Z][a-z+-]{1,9})?",
    );
    let budgets = (money(0), money(1)).prop_flat_map(|(price, total)| {
        let daily = option::of((0..=total.get() / 1_000).prop_map(|micros| Nanos::new(micros * 1_000)));
        (Just(price), Just(total), daily)
    });
    let choices = (
        select(vec![PricingModel::Cpm, PricingModel::Cpc, PricingModel::Cpa]),
        select(vec![Status::Draft, Status::Active, Status::Paused]),
        select(vec![Pacing::Asap, Pacing::Even]),
        select(vec![OnExhausted::Refuse, OnExhausted::Record]),
        select(vec![CapUnsure::Refuse, CapUnsure::Allow]),
    );
    let limits = (option::of(1..=1_000_000_u32), times());
    (words, budgets, choices, limits, rules()).prop_map(
        |(words, budgets, choices, (cap, (starts_at, ends_at)), rules)| {
            let (external_id, name, currency, timezone) = words;
            let (unit_price, total_budget, daily_budget) = budgets;
            let (pricing_model, status, pacing, on_exhausted, cap_unsure) = choices;
            let pacing = if daily_budget.is_some() { pacing } else { Pacing::Asap };
            Terms {
                external_id,
                name,
                pricing_model,
                unit_price,
                currency,
                total_budget,
                daily_budget,
                cap,
                timezone,
                starts_at,
                ends_at,
                status,
                pacing,
                on_exhausted,
                cap_unsure,
                rules,
            }
        },
    )
}

/// An amount that a client may send.
pub(super) fn money(least_micros: i64) -> impl Strategy<Value = Nanos> {
    (least_micros..1_000_000_000_000_000).prop_map(|micros| Nanos::new(micros * 1_000))
}

/// A start and a later end, in whole microseconds.
fn times() -> impl Strategy<Value = (Option<OffsetDateTime>, Option<OffsetDateTime>)> {
    let times = (0..4_000_000_000_000_000_i64, 1..1_000_000_000_000_i64).prop_map(|(start, length)| {
        let start = OffsetDateTime::UNIX_EPOCH + Duration::microseconds(start);
        (start, start + Duration::microseconds(length))
    });
    (times, any::<(bool, bool)>())
        .prop_map(|((start, end), (has_start, has_end))| (has_start.then_some(start), has_end.then_some(end)))
}

fn rules() -> impl Strategy<Value = Rules> {
    let window = || option::of(1..=31_536_000_u32);
    let agents = prop::collection::vec("[ -~]{1,20}", 0..4);
    (any::<bool>(), window(), window(), option::of(1..=1_000_000_u32), agents).prop_map(
        |(click_requires_impression, duplicate_click_window, conversion_window, user_events_per_minute, agents)| {
            Rules {
                click_requires_impression,
                duplicate_click_window,
                conversion_window,
                user_events_per_minute,
                blocked_user_agents: agents,
            }
        },
    )
}
