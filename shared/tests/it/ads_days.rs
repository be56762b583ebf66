//! The days of campaigns, where midnight comes twice.

use devstack::kit::midnight_twice;
use shared::ads::CampaignId;
use shared::ads::queries::{Granted, Room, Scope};
use time::{Duration as Span, OffsetDateTime};

use crate::ads::{campaign, granted};
use crate::prelude::*;

/// A campaign of long ago, in a zone whose first midnight of two is then.
async fn with_first_midnight(kit: &Kit, midnight: OffsetDateTime) -> CampaignId {
    let zone = format!("'{}'", midnight_twice(midnight));
    let more = [
        ("timezone", zone.as_str()),
        ("created_at", "now() - interval '9 days'"),
        ("daily_budget", "30000000"),
        ("cap", "2"),
    ];
    campaign(kit, &more).await
}

fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap()
}

#[tokio::test]
async fn a_day_that_begins_twice_began_the_first_time() {
    let kit = Kit::new("ads_two_midnights").await;
    for (ago, left) in
        [(Span::minutes(30), Span::hours(24) + Span::minutes(30)), (Span::minutes(90), Span::minutes(1_410))]
    {
        let midnight = now() - ago;
        let id = with_first_midnight(&kit, midnight).await;
        let Granted { facts, .. } = granted(&kit.store, id, 0).await;
        assert_eq!((facts.day, facts.day_begins), (midnight.date(), midnight), "{ago} ago");
        let left_s = facts.day_ends_in.as_secs_f64() - left.as_seconds_f64();
        assert!((-30.0..=0.0).contains(&left_s), "it has 25 hours: {left_s}");
        assert_eq!(facts.usable_for, Duration::from_secs(7));
    }
}

/// Facts, leases and refusals end with the first midnight.
#[tokio::test]
async fn nothing_of_a_day_lasts_beyond_its_first_midnight() {
    let kit = Kit::new("ads_first_midnight").await;
    // A busy machine may miss a midnight.
    let (midnight, ends) = loop {
        let midnight = now() + Span::seconds(6);
        let id = with_first_midnight(&kit, midnight).await;
        let ends = granted(&kit.store, id, 1).await;
        if ends.facts.day != midnight.date() {
            break (midnight, ends);
        }
    };
    assert_eq!(ends.facts.day, midnight.date() - Span::days(1));
    assert!(matches!(ends.room, Room::Lease(_)), "{ends:?}");
    for lasts in [ends.facts.usable_for, ends.facts.day_ends_in] {
        assert!(lasts > Duration::ZERO && lasts <= Duration::from_secs(6), "{lasts:?}");
    }
    let expires: OffsetDateTime =
        sqlx::query_scalar("SELECT max(expires_at) FROM ad_leases").fetch_one(&kit.pool).await.unwrap();
    assert_eq!(expires, midnight + Span::seconds(3), "three seconds for events that are on their way");

    let id = with_first_midnight(&kit, now() + Span::minutes(30)).await;
    granted(&kit.store, id, 0).await;
    kit.sql("UPDATE campaign_days SET spent = budget, reserved = 0").await;
    let Room::Exhausted { scope: Scope::Day, retry_after: Some(in_s) } = granted(&kit.store, id, 1).await.room else {
        panic!("the day's budget is spent")
    };
    assert!((1_700..=1_801).contains(&in_s), "{in_s}");
}
