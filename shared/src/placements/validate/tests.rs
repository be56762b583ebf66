//! The validator against a slow model that compares every placement with every other one, and where its bounds are.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::placements::samples::{empty, id, placed, placements, region, snapshots};

/// What a finding says, without its words.
type Said = (Vec<Option<PlacementId>>, FindingCode);

fn said(report: &Report) -> Vec<Said> {
    report.findings.iter().map(|finding| (finding.placements.clone(), finding.code)).collect()
}

fn with(placements: Vec<Placed>) -> Snapshot {
    Snapshot { placements, ..empty() }
}

/// The codes of the findings about these placements.
fn codes(snapshot: &Snapshot) -> Vec<&'static str> {
    validate(snapshot).findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// Whether two ranges have a millisecond in common, found by looking at each.
fn share_a_moment(one: &Placed, other: &Placed) -> bool {
    let of = |placed: &Placed| (placed.range.start()..placed.range.end()).collect::<BTreeSet<_>>();
    !of(one).is_disjoint(&of(other))
}

/// All findings in their order, as the contract has them.
fn model(snapshot: &Snapshot) -> Vec<Said> {
    let video = &snapshot.video;
    let mut found: Vec<(bool, u32, Vec<Option<PlacementId>>, FindingCode)> = Vec::new();
    for one in &snapshot.placements {
        let mut add = |code| found.push((false, one.range.start(), vec![Some(one.id)], code));
        let (start, end) = (i64::from(one.range.start()), i64::from(one.range.end()));
        if end > video.duration_ms {
            add(FindingCode::OutOfBounds);
        }
        if end - start < 500 {
            add(FindingCode::TooShort);
        }
        if let Some(rate) = video.frame_rate {
            let frame = start as f64 * f64::from(rate) / 1e6;
            let off = (frame - frame.round()).abs() * 1e6 / f64::from(rate);
            // The nearest doubles of a half are not told apart.
            if off > 0.5 + 1e-7 {
                add(FindingCode::OffFrame);
            }
        }
        match snapshot.products.get(&one.product) {
            None => add(FindingCode::ProductMissing),
            Some(false) => add(FindingCode::ProductInactive),
            Some(true) => {}
        }
        match one.campaign.map(|id| snapshot.campaigns.get(&id)) {
            Some(None) => add(FindingCode::CampaignMissing),
            Some(Some(campaign))
                if campaign.status == "ended" || campaign.ends_at.is_some_and(|at| at <= snapshot.now) =>
            {
                add(FindingCode::CampaignEnded);
            }
            Some(Some(_)) | None => {}
        }
        for other in snapshot.placements.iter().filter(|other| one.id < other.id && one.layer == other.layer) {
            let regions = one.region.unwrap_or(Region::WHOLE).meets(other.region.unwrap_or(Region::WHOLE));
            if regions && share_a_moment(one, other) {
                let both = vec![Some(one.id), Some(other.id)];
                found.push((false, one.range.start(), both, FindingCode::Overlap));
            }
        }
    }
    let moments: BTreeSet<_> = snapshot.placements.iter().flat_map(|one| one.range.start()..one.range.end()).collect();
    let covered = moments.iter().filter(|at| i64::from(**at) < video.duration_ms).count();
    if covered as f64 > 0.3 * video.duration_ms as f64 + 1e-9 {
        found.push((true, 0, Vec::new(), FindingCode::Dense));
    }
    found.sort_by_key(|(last, start, ids, code)| {
        let second = ids.get(1).copied().flatten();
        (*last, *start, ids.first().copied().flatten(), code.as_str(), second)
    });
    found.into_iter().map(|(_, _, ids, code)| (ids, code)).collect()
}

proptest! {
    #[test]
    fn it_finds_what_a_slow_model_finds(snapshot in snapshots()) {
        let report = validate(&snapshot);
        prop_assert_eq!(said(&report), model(&snapshot));
        prop_assert_eq!(report.revision, snapshot.video.revision);
        prop_assert!(report.findings.iter().all(|finding| finding.severity == finding.code.severity()));
    }

    /// A draft has the findings that it would have as a placement whose id comes before all others.
    #[test]
    fn a_draft_is_judged_as_the_placement_that_it_becomes(snapshot in snapshots(), draft in placements()) {
        let first = Placed { id: id(0), ..draft };
        let mut made = snapshot.clone();
        made.placements.push(first.clone());
        let of_draft = |ids: &[Option<PlacementId>]| ids.is_empty() || ids.contains(&Some(id(0)));
        let expected: Vec<_> = model(&made).into_iter().filter(|(ids, _)| of_draft(ids)).collect();
        let Placed { video, product, campaign, range, layer, region, label, .. } = first;
        let draft = NewPlacement { video, product, campaign, range, layer, region, label };
        let found = said(&validate_draft(&snapshot, &draft));
        let named = |(ids, code): Said| (ids.into_iter().map(|one| Some(one.unwrap_or(id(0)))).collect(), code);
        prop_assert_eq!(found.into_iter().map(named).collect::<Vec<Said>>(), expected);
    }

    /// At the nearest millisecond of each frame, whatever the rate is.
    #[test]
    fn where_a_frame_begins_nothing_is_off(frame in 0..100_000_u64, rate in 1..=1_000_000_u32) {
        let start = (frame * 1_000_000 + u64::from(rate) / 2) / u64::from(rate);
        prop_assert!(begins_with_a_frame(start as i64, rate));
    }
}

#[test]
fn what_only_touches_does_not_overlap() {
    let long = |number, start| placed(number, start, start + 1_000);
    assert_eq!(codes(&with(vec![long(1, 0), long(2, 1_000)])), [""; 0]);
    assert_eq!(codes(&with(vec![long(1, 0), long(2, 999)])), ["overlap"]);
    assert_eq!(codes(&with(vec![long(1, 0), Placed { layer: 1, ..long(2, 0) }])), [""; 0]);
    let half = |number, x| Placed { region: Some(region([x, 0, 5_000, 10_000])), ..long(number, 0) };
    assert_eq!(codes(&with(vec![half(1, 0), half(2, 5_000)])), [""; 0]);
    assert_eq!(codes(&with(vec![half(1, 0), half(2, 4_999)])), ["overlap"]);
    assert_eq!(codes(&with(vec![half(1, 0), long(2, 0)])), ["overlap"], "without a region it has the whole picture");
}

#[test]
fn each_bound() {
    let last = |end| codes(&with(vec![placed(1, 59_000, end)]));
    assert_eq!((last(60_000), last(60_001)), (vec![], vec!["out_of_bounds"]));
    let short = |end| codes(&with(vec![placed(1, 0, end)]));
    assert_eq!((short(500), short(499)), (vec![], vec!["too_short"]));
    let dense = |end| codes(&with(vec![placed(1, 0, 10_000), placed(2, 10_000, end)]));
    assert_eq!((dense(18_000), dense(18_001)), (vec![], vec!["dense"]));
    let of = |product: &str, campaign| {
        codes(&with(vec![Placed { product: product.parse().unwrap(), campaign, ..placed(1, 0, 1_000) }]))
    };
    assert_eq!(of("mug", Some(1)), [""; 0]);
    assert_eq!(of("old", Some(2)), ["campaign_ended", "product_inactive"]);
    assert_eq!(of("none", Some(3)), ["campaign_ended", "product_missing"], "it is over, whatever its status is");
    assert_eq!(of("mug", Some(4)), ["campaign_missing"]);
    let mut at_25 = with(vec![placed(1, 40, 1_000), placed(2, 1_041, 2_000)]);
    at_25.video.frame_rate = Some(25_000);
    assert_eq!(said(&validate(&at_25)), [(vec![Some(id(2))], FindingCode::OffFrame)]);
}

#[test]
fn of_many_overlaps_the_first_thousand_are_told() {
    let crowd = |count: u128| with((1..=count).map(|number| placed(number, 0, 1_000)).collect());
    assert_eq!(validate(&crowd(45)).findings.len(), 45 * 44 / 2, "990");
    let report = validate(&crowd(60));
    assert_eq!(report.count(Severity::Error), MAX_OVERLAPS + 1);
    let (more, told) = report.findings.split_last().unwrap();
    assert_eq!((more.detail.as_str(), more.placements.len()), ("more than 1,000", 0));
    let pairs = (1..=60).flat_map(|one| (one + 1..=60).map(move |other| vec![Some(id(one)), Some(id(other))]));
    assert!(told.iter().map(|finding| finding.placements.clone()).eq(pairs.take(MAX_OVERLAPS)));
}

/// As many placements as a video may have, one behind the other; and many at once on one layer, side by side.
#[test]
fn a_full_video_is_validated() {
    let chain = with((0..10_000).map(|n| placed(n + 1, n as u32 * 6, n as u32 * 6 + 6)).collect());
    assert_eq!(validate(&chain).count(Severity::Error), 0);
    let tile = |n: u32| region([n % 40 * 250, n / 40 * 250, 250, 250]);
    let tiles = (0..1_600).map(|n| Placed { region: Some(tile(n)), ..placed(u128::from(n) + 1, 0, 1_000) });
    assert_eq!(codes(&with(tiles.collect())), [""; 0]);
}

#[test]
fn a_report_as_json() {
    let report = validate(&with(vec![placed(2, 0, 1_000), placed(1, 500, 61_000)]));
    let json = serde_json::to_value(&report).unwrap();
    let [one, two] = [id(1), id(2)].map(|id| id.to_string());
    let detail = "both are on layer 0 from 500 to 1000 ms, and their regions meet";
    let expected = serde_json::json!({"revision": 9, "findings": [
        {"code": "out_of_bounds", "severity": "error", "placementIds": [one],
         "detail": "it ends at 61000 ms, the video at 60000 ms"},
        {"code": "overlap", "severity": "error", "placementIds": [one, two], "detail": detail},
        {"code": "dense", "severity": "warning", "placementIds": [],
         "detail": "placements cover 60000 of 60000 ms, which is more than 30 %"},
    ]});
    assert_eq!(json, expected);
    let draft = NewPlacement {
        video: empty().video.id,
        product: "none".parse().unwrap(),
        campaign: None,
        range: Range::new(0, 1_000).unwrap(),
        layer: 0,
        region: None,
        label: None,
    };
    let json = serde_json::to_value(validate_draft(&empty(), &draft)).unwrap();
    assert_eq!(json["findings"][0]["placementIds"], serde_json::json!([null]));
}
