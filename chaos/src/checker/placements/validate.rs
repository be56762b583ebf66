//! The findings about a video, made by another validator than the product's: it compares each placement with each other
//! one. What it finds of campaigns is judged apart, because it depends on when their events were taken.

use std::collections::BTreeMap;

use super::model::Video;
use super::timeline::Here;

/// The most overlaps that are told.
const MOST_OVERLAPS: usize = 1_000;

/// A finding with the placements that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) code: String,
    pub(super) is_error: bool,
    pub(super) placements: Vec<String>,
}

impl Finding {
    pub(super) fn new(code: &str, placements: &[&str]) -> Self {
        let is_error = !matches!(code, "too_short" | "off_frame" | "dense");
        Self { code: code.into(), is_error, placements: placements.iter().map(|id| (*id).to_owned()).collect() }
    }
}

/// All findings but those of campaigns, in no order.
pub(super) fn findings(video: &Video, placements: &[Here<'_>], products: &BTreeMap<&str, bool>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (id, _, it) in placements {
        let mut add = |code: &str| found.push(Finding::new(code, &[*id]));
        if it.end > video.duration_ms {
            add("out_of_bounds");
        }
        if it.end - it.start < 500 {
            add("too_short");
        }
        if video.frame_rate.is_some_and(|rate| is_off_frame(it.start, rate)) {
            add("off_frame");
        }
        match products.get(it.product.as_str()) {
            None => add("product_missing"),
            Some(false) => add("product_inactive"),
            Some(true) => {}
        }
    }
    let mut overlaps = overlaps(placements);
    let more = overlaps.len() > MOST_OVERLAPS;
    overlaps.truncate(MOST_OVERLAPS);
    found.extend(overlaps.into_iter().map(|(_, one, other)| Finding::new("overlap", &[one, other])));
    found.extend(more.then(|| Finding::new("overlap", &[])));
    if covered(video, placements) * 100 > video.duration_ms * 30 {
        found.push(Finding::new("dense", &[]));
    }
    found
}

/// Sorts findings as reports have them: by the first placement's start and id, then by code and the other placement; those
/// without a placement last.
pub(super) fn sort(findings: &mut [Finding], placements: &[Here<'_>]) {
    let starts: BTreeMap<&str, i64> = placements.iter().map(|(id, _, it)| (*id, it.start)).collect();
    findings.sort_by_key(|finding| {
        let [first, second] = [0, 1].map(|place| finding.placements.get(place).cloned());
        let start = first.as_deref().and_then(|id| starts.get(id)).copied();
        (first.is_none(), start, first, finding.code.clone(), second)
    });
}

/// Whether no frame begins within half a millisecond, at a rate in thousandths.
fn is_off_frame(start: i64, rate: i64) -> bool {
    let (start, rate) = (i128::from(start), i128::from(rate));
    let before = start * rate / 1_000_000;
    // Frame n begins at n * 1,000,000 / rate.
    [before, before + 1].into_iter().all(|frame| 2 * (frame * 1_000_000 - start * rate).abs() > rate)
}

/// The pairs that overlap, each by id, in their order.
fn overlaps<'a>(placements: &[Here<'a>]) -> Vec<(i64, &'a str, &'a str)> {
    let meets = |a: i64, a_length: i64, b: i64, b_length: i64| a.max(b) < (a + a_length).min(b + b_length);
    let mut found = Vec::new();
    for (one_id, _, one) in placements {
        for (other_id, _, other) in placements.iter().filter(|(id, ..)| one_id < id) {
            let ([x, y, width, height], [other_x, other_y, other_width, other_height]) = (one.area(), other.area());
            if one.layer == other.layer
                && one.start.max(other.start) < one.end.min(other.end)
                && meets(x, width, other_x, other_width)
                && meets(y, height, other_y, other_height)
            {
                found.push((one.start, *one_id, *other_id));
            }
        }
    }
    found.sort_unstable();
    found
}

/// How many milliseconds of the video some placement covers.
fn covered(video: &Video, placements: &[Here<'_>]) -> i64 {
    let mut bounds: Vec<i64> = placements.iter().flat_map(|(_, _, it)| [it.start, it.end]).collect();
    bounds.push(video.duration_ms);
    bounds.sort_unstable();
    bounds.retain(|bound| *bound <= video.duration_ms);
    let pieces = bounds.windows(2).filter_map(|pair| if let [from, to] = pair { Some((*from, *to)) } else { None });
    let is_covered = |from: i64, to: i64| placements.iter().any(|(_, _, it)| it.start <= from && to <= it.end);
    pieces.filter(|(from, to)| is_covered(*from, *to)).map(|(from, to)| to - from).sum()
}

#[cfg(test)]
mod tests {
    use super::super::model::Placement;
    use super::*;

    fn placement(start: i64, end: i64) -> Placement {
        Placement { product: "mug".into(), campaign: None, start, end, layer: 0, region: None, label: None }
    }

    fn found(video: &Video, placements: &[(&str, Placement)]) -> Vec<String> {
        let all: Vec<Here<'_>> = placements.iter().map(|(id, it)| (*id, 1, it)).collect();
        let products = BTreeMap::from([("mug", true), ("old", false)]);
        let mut findings = findings(video, &all, &products);
        sort(&mut findings, &all);
        findings.into_iter().map(|it| format!("{} {}", it.code, it.placements.join(" ")).trim().to_owned()).collect()
    }

    #[test]
    fn each_finding_and_its_bound() {
        let video = Video { title: "t".into(), duration_ms: 60_000, frame_rate: None };
        let of = |all: &[(&str, Placement)]| found(&video, all);
        let none = [""; 0];
        assert_eq!(of(&[("a", placement(59_000, 60_000))]), none);
        assert_eq!(of(&[("a", placement(59_000, 60_001))]), ["out_of_bounds a"]);
        assert_eq!(of(&[("a", placement(0, 500))]), none);
        assert_eq!(of(&[("a", placement(0, 499))]), ["too_short a"]);
        assert_eq!(of(&[("a", placement(0, 18_000))]), none);
        assert_eq!(of(&[("a", placement(0, 10_000)), ("b", placement(10_000, 18_001))]), ["dense"]);
        assert_eq!(of(&[("b", placement(0, 1_000)), ("a", placement(999, 2_000))]), ["overlap a b"]);
        assert_eq!(of(&[("a", placement(0, 1_000)), ("b", Placement { layer: 1, ..placement(0, 1_000) })]), none);
        let half = |x| Placement { region: Some([x, 0, 5_000, 10_000]), ..placement(0, 1_000) };
        assert_eq!(of(&[("a", half(0)), ("b", half(5_000))]), none);
        assert_eq!(of(&[("a", half(0)), ("b", half(4_999))]), ["overlap a b"]);
        let product = |name: &str| Placement { product: name.into(), ..placement(0, 1_000) };
        assert_eq!(of(&[("a", product("old"))]), ["product_inactive a"]);
        assert_eq!(of(&[("a", product("none"))]), ["product_missing a"]);
        let at_25 = Video { frame_rate: Some(25_000), ..video.clone() };
        assert_eq!(found(&at_25, &[("a", placement(40, 1_000)), ("b", placement(1_041, 2_000))]), ["off_frame b"]);
        let odd = Video { frame_rate: Some(23_976), ..video.clone() };
        assert_eq!(found(&odd, &[("a", placement(42, 1_000)), ("b", placement(1_001, 2_000))]), none, "41.7 and 1001");
    }

    #[test]
    fn of_many_overlaps_the_first_thousand_are_told() {
        let video = Video { title: "t".into(), duration_ms: 60_000, frame_rate: None };
        let ids: Vec<String> = (0..60).map(|n| format!("{n:02}")).collect();
        let all: Vec<_> = ids.iter().map(|id| (id.as_str(), placement(0, 1_000))).collect();
        let said = found(&video, &all);
        assert_eq!(
            (said.len(), said.first().unwrap().as_str(), said.last().unwrap().as_str()),
            (1_001, "overlap 00 01", "overlap")
        );
    }
}
