//! Snapshots for tests: small, so that placements meet, touch and repeat.

use proptest::prelude::*;
use proptest::{collection, option, sample};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::snapshot::{CampaignShot, Snapshot, VideoShot};
use super::values::MAX_CAMPAIGN;
use super::{Placed, PlacementId, Range, Region, VideoId};

pub(super) const NOW: OffsetDateTime = time::macros::datetime!(2026-03-01 12:00 UTC);

/// The placement with this number among the ids.
pub(super) fn id(number: u128) -> PlacementId {
    PlacementId::from(Uuid::from_u128(number))
}

/// A video of a minute without placements, with an active and an inactive product, and a campaign each that runs, was
/// ended, and is over.
pub(super) fn empty() -> Snapshot {
    let campaign = |status: &str, ends_at| CampaignShot { status: status.to_owned(), ends_at };
    let product = |id: &str, active| (id.parse().unwrap(), active);
    Snapshot {
        video: VideoShot {
            id: VideoId::from(Uuid::from_u128(7)),
            title: "film".to_owned(),
            duration_ms: 60_000,
            frame_rate: None,
            revision: 9,
            ready_revision: 0,
        },
        placements: Vec::new(),
        products: [product("mug", true), product("old", false)].into(),
        campaigns: [
            (1, campaign("active", Some(NOW + Duration::MILLISECOND))),
            (2, campaign("ended", None)),
            (3, campaign("paused", Some(NOW))),
        ]
        .into(),
        now: NOW,
    }
}

/// A placement of an active product on the lowest layer, in the whole picture.
pub(super) fn placed(number: u128, start: u32, end: u32) -> Placed {
    Placed {
        id: id(number),
        video: empty().video.id,
        product: "mug".parse().unwrap(),
        campaign: None,
        range: Range::new(start, end).unwrap(),
        layer: 0,
        region: None,
        label: None,
        version: 9,
    }
}

/// A region of these ten-thousandths.
pub(super) fn region([x, y, width, height]: [u32; 4]) -> Region {
    let part = |part: u32| f64::from(part) / 10_000.0;
    let json = serde_json::json!({"x": part(x), "y": part(y), "width": part(width), "height": part(height)});
    Region::parse(&serde_json::value::to_raw_value(&json).unwrap()).unwrap()
}

fn regions() -> impl Strategy<Value = Region> {
    // A coarse grid, so that regions touch; and a fine one, so that all decimals occur.
    let length = |unit: u32| {
        (0..10_000 / unit, 1..=10_000 / unit).prop_map(move |(at, length)| {
            let at = at * unit;
            (at, (length * unit).min(10_000 - at))
        })
    };
    let of =
        move |unit| (length(unit), length(unit)).prop_map(|((x, width), (y, height))| region([x, y, width, height]));
    prop_oneof![of(2_500), of(1)]
}

/// A placement without its id.
pub(super) fn placements() -> impl Strategy<Value = Placed> {
    let range = (0..20_u32, 1..12_u32, 0..3_u32).prop_map(|(start, length, odd)| {
        let start = start * 100 + odd;
        Range::new(start, start + length * 100).unwrap()
    });
    let label = option::of(prop_oneof![Just("--> <c>&amp;".to_owned()), Just("\"\\\u{2028}".to_owned()), "\\PC{1,8}"]);
    let names =
        (sample::select(&["mug", "old", "none"][..]), option::of(prop_oneof![1..5_i64, Just(MAX_CAMPAIGN)]), 0..2_u16);
    (range, names, option::of(regions()), label).prop_map(|(range, (product, campaign, layer), region, label)| Placed {
        product: product.parse().unwrap(),
        campaign,
        range,
        layer,
        region,
        label,
        ..placed(1, 0, 1)
    })
}

/// Snapshots of up to 12 placements, in any order.
pub(super) fn snapshots() -> impl Strategy<Value = Snapshot> {
    let rate = option::of(prop_oneof![Just(25_000_u32), Just(23_976), Just(1_000_000), 1..=1_000_000_u32]);
    let video = (1..4_000_i64, rate, "\\PC{1,12}", 1..1_000_i64);
    (video, collection::btree_map(1..40_u128, placements(), 0..12)).prop_flat_map(
        |((duration_ms, frame_rate, title, revision), placements)| {
            let placements = placements.into_iter().map(|(number, placed)| Placed { id: id(number), ..placed });
            let placements: Vec<_> = placements.collect();
            let of = move |placements| {
                let empty = empty();
                let video = VideoShot { duration_ms, frame_rate, title: title.clone(), revision, ..empty.video };
                Snapshot { video, placements, ..empty }
            };
            Just(placements).prop_shuffle().prop_map(of)
        },
    )
}
