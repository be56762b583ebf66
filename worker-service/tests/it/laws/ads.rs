//! The handler of ads. A late position does change its state: an event counts however late it comes.

use proptest::prelude::*;
use shared::ads::AdDelivery;
use shared::kafka::position::Position;
use worker_service::ads::{AdEventsConfig, Ads};

use super::handler_laws;
use crate::prelude::*;

handler_laws!(
    Ads::new(AdEventsConfig { ads_events_retention: Duration::MAX }),
    logs(),
    |event| vec![event.event.campaign.cache_key()],
    CAMPAIGNS;
    the_result_does_not_depend_on_where_batches_are_cut
    twice_is_once
    what_is_touched_is_fenced_by_a_repeat_too
    a_failed_apply_leaves_nothing
);

/// A campaign with little money, a cap and a rate, and one whose clicks and conversions follow rules. A lease of each.
const CAMPAIGNS: &str = "
    INSERT INTO campaigns (id, name, pricing_model, unit_price, currency, total_budget, daily_budget, cap, timezone,
      status, pacing, on_exhausted, cap_unsure, click_requires_impression, duplicate_click_window, conversion_window,
      user_events_per_minute, blocked_user_agents, reserved)
    OVERRIDING SYSTEM VALUE VALUES
    (1, 'a', 'cpm', 1, 'USD', 100000000, 80000000, 2, 'UTC', 'active', 'asap', 'refuse', 'refuse', false, NULL, NULL,
     3, '{}', 30000000),
    (2, 'b', 'cpm', 1, 'USD', 500000000, NULL, NULL, 'America/New_York', 'active', 'asap', 'record', 'refuse', true,
     5, 8, NULL, '{bot}', 50000000);
    INSERT INTO campaign_days (campaign_id, day, budget, cap, reserved) VALUES
    (1, '2026-03-01', 80000000, 2, 30000000), (2, '2026-03-01', NULL, NULL, 50000000);
    INSERT INTO ad_leases (id, campaign_id, day, instance, amount, expires_at) VALUES
    ('lease-1', 1, '2026-03-01', 'i', 30000000, 'infinity'), ('lease-2', 2, '2026-03-01', 'i', 50000000, 'infinity')";

/// Events of two campaigns, each up to several times, in two days; some with another user
/// or type, some without an open lease, and some redriven.
fn logs() -> impl Strategy<Value = Vec<AdDelivery>> {
    let names = (1..3_i64, 0..14_u8, 0..3_usize, 0..3_u8);
    let record = (names, 0..4_u8, 0..6_u8, prop::option::weighted(0.2, 0..40_i64));
    let delivery = |(offset, ((campaign, id, user, kind), paid_by, more, origin)): (i64, _)| {
        let event = ad(&format!("e{id}")).campaign(campaign).user(["u0", "u/1", r#"{u}"\"#][user]).after(offset);
        let event = match kind {
            0 => event,
            1 => event.click(),
            _ => event.conversion(),
        };
        let mut event = match paid_by {
            0 => event.free(),
            1 => event.lease("lease-closed"),
            _ => event.lease(&format!("lease-{campaign}")),
        };
        match more {
            0 => event = event.agent("a Bot"),
            1 => event.event.day = DAY.next_day().unwrap(),
            _ => {}
        }
        let delivery = event.delivery(offset);
        match origin {
            None => delivery,
            Some(first) => {
                let position = Position { offset: first, redriven: true, ..delivery.position };
                AdDelivery { position, ..delivery }
            }
        }
    };
    prop::collection::vec(record, 2..40).prop_map(move |records| (0..).zip(records).map(delivery).collect())
}
