//! Validates the placements of a video: one pure function of a snapshot.
//!
//! The findings are sorted by the start and the id of their first placement, then by code, then by the other placement;
//! those without a placement come last. The placements of a finding are sorted by id. So the same snapshot has the same
//! report, whoever makes it.

mod overlaps;
#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer};

use self::overlaps::overlaps;
use super::snapshot::Snapshot;
use super::values::decimal;
use super::{NewPlacement, Placed, PlacementId, ProductId, Range, Region};
use crate::runtime::named::named;

/// The most overlaps that a report tells.
pub const MAX_OVERLAPS: usize = 1_000;
/// A placement is too short below this, in milliseconds.
pub const SHORT_MS: i64 = 500;
/// A video is dense if placements cover more than this share of it, in percent.
pub const DENSE_PERCENT: i64 = 30;

named!(
    /// What is wrong.
    pub FindingCode {
        /// The campaign has ended.
        CampaignEnded = "campaign_ended",
        /// No event has told of the campaign.
        CampaignMissing = "campaign_missing",
        /// Placements cover much of the video.
        Dense = "dense",
        /// It does not begin with a frame.
        OffFrame = "off_frame",
        /// It ends after the video.
        OutOfBounds = "out_of_bounds",
        /// Two placements of one layer meet, in time and in the picture.
        Overlap = "overlap",
        /// The product is not active.
        ProductInactive = "product_inactive",
        /// There is no such product.
        ProductMissing = "product_missing",
        /// It is shown for too short a time.
        TooShort = "too_short",
    }
);

named!(
    /// How bad a finding is.
    pub Severity {
        /// It must be mended.
        Error = "error",
        /// It should be looked at.
        Warning = "warning",
    }
);

impl FindingCode {
    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::OutOfBounds
            | Self::Overlap
            | Self::ProductMissing
            | Self::ProductInactive
            | Self::CampaignMissing
            | Self::CampaignEnded => Severity::Error,
            Self::TooShort | Self::OffFrame | Self::Dense => Severity::Warning,
        }
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// What a validation has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In their order; see above.
    pub findings: Vec<Finding>,
    /// The revision that was validated.
    pub revision: i64,
}

impl Report {
    /// How many findings are that bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is wrong.
    pub code: FindingCode,
    /// How bad it is.
    pub severity: Severity,
    /// The placements that it is about, sorted; `None` is the draft, which has no id yet.
    #[serde(rename = "placementIds")]
    pub placements: Vec<Option<PlacementId>>,
    /// The same in words.
    pub detail: String,
}

/// A placement, or the draft of one.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    id: Option<PlacementId>,
    product: &'a ProductId,
    campaign: Option<i64>,
    start: i64,
    end: i64,
    layer: u16,
    region: Region,
}

impl<'a> Item<'a> {
    fn placed(placed: &'a Placed) -> Self {
        let Placed { id, product, campaign, range, layer, region, .. } = placed;
        Self { id: Some(*id), ..Self::new(product, *campaign, *range, *layer, *region) }
    }

    fn draft(draft: &'a NewPlacement) -> Self {
        let NewPlacement { product, campaign, range, layer, region, .. } = draft;
        Self::new(product, *campaign, *range, *layer, *region)
    }

    /// Without a region, it has the whole picture.
    fn new(product: &'a ProductId, campaign: Option<i64>, range: Range, layer: u16, region: Option<Region>) -> Self {
        let region = region.unwrap_or(Region::WHOLE);
        Self { id: None, product, campaign, start: range.start().into(), end: range.end().into(), layer, region }
    }
}

/// All findings about a video.
pub fn validate(snapshot: &Snapshot) -> Report {
    let items: Vec<_> = snapshot.placements.iter().map(Item::placed).collect();
    let mut found = Found::default();
    for item in &items {
        found.alone(item, snapshot);
    }
    found.overlaps(overlaps(&items, MAX_OVERLAPS));
    found.dense(&items, snapshot);
    found.report(snapshot)
}

/// The findings that a new placement would have, had it been made at the snapshot's revision.
pub fn validate_draft(snapshot: &Snapshot, draft: &NewPlacement) -> Report {
    let draft = Item::draft(draft);
    let mut items: Vec<_> = snapshot.placements.iter().map(Item::placed).collect();
    let mut found = Found::default();
    found.alone(&draft, snapshot);
    let mut with: Vec<_> =
        items.iter().filter(|item| overlaps::meet(&draft, item)).map(|item| (draft, *item)).collect();
    with.sort_unstable_by_key(|(_, item)| item.id);
    found.overlaps(with);
    items.push(draft);
    found.dense(&items, snapshot);
    found.report(snapshot)
}

/// The findings so far, each with what it is sorted by.
#[derive(Default)]
struct Found(Vec<(Rank, Finding)>);

/// Those without a placement come last.
type Rank = (bool, i64, Option<PlacementId>, &'static str, Option<PlacementId>);

impl Found {
    fn add(&mut self, code: FindingCode, items: &[&Item<'_>], detail: String) {
        let (first, second) = (items.first(), items.get(1));
        let rank = (
            first.is_none(),
            first.map_or(0, |item| item.start),
            first.and_then(|item| item.id),
            code.as_str(),
            second.and_then(|item| item.id),
        );
        let placements = items.iter().map(|item| item.id).collect();
        self.0.push((rank, Finding { code, severity: code.severity(), placements, detail }));
    }

    /// What one placement is wrong in by itself.
    fn alone(&mut self, item: &Item<'_>, snapshot: &Snapshot) {
        let Item { product, start, end, .. } = *item;
        let video = &snapshot.video;
        if end > video.duration_ms {
            let detail = format!("it ends at {end} ms, the video at {} ms", video.duration_ms);
            self.add(FindingCode::OutOfBounds, &[item], detail);
        }
        if end - start < SHORT_MS {
            let detail = format!("it lasts {} ms, which is less than {SHORT_MS} ms", end - start);
            self.add(FindingCode::TooShort, &[item], detail);
        }
        if let Some(rate) = video.frame_rate.filter(|rate| !begins_with_a_frame(start, *rate)) {
            let rate = decimal(rate, 3);
            let detail = format!("it starts at {start} ms, where no frame does at {rate} frames a second");
            self.add(FindingCode::OffFrame, &[item], detail);
        }
        match snapshot.products.get(product) {
            Some(true) => {}
            Some(false) => {
                self.add(FindingCode::ProductInactive, &[item], format!("the product {product} is not active"));
            }
            None => self.add(FindingCode::ProductMissing, &[item], format!("there is no product {product}")),
        }
        if let Some(id) = item.campaign {
            match snapshot.campaigns.get(&id) {
                Some(campaign) if campaign.has_ended(snapshot.now) => {
                    self.add(FindingCode::CampaignEnded, &[item], format!("the campaign {id} has ended"));
                }
                Some(_) => {}
                None => self.add(FindingCode::CampaignMissing, &[item], format!("no campaign {id} is known")),
            }
        }
    }

    /// Tells [`MAX_OVERLAPS`] of these pairs, and that there are more.
    fn overlaps(&mut self, pairs: Vec<(Item<'_>, Item<'_>)>) {
        let are_more = pairs.len() > MAX_OVERLAPS;
        for (one, other) in pairs.iter().take(MAX_OVERLAPS) {
            let (from, to) = (one.start.max(other.start), one.end.min(other.end));
            let detail = format!("both are on layer {} from {from} to {to} ms, and their regions meet", one.layer);
            self.add(FindingCode::Overlap, &[one, other], detail);
        }
        if are_more {
            self.add(FindingCode::Overlap, &[], "more than 1,000".to_owned());
        }
    }

    fn dense(&mut self, items: &[Item<'_>], snapshot: &Snapshot) {
        let duration = snapshot.video.duration_ms;
        let covered = covered(items, duration);
        if covered * 100 > duration * DENSE_PERCENT {
            let detail = format!("placements cover {covered} of {duration} ms, which is more than {DENSE_PERCENT} %");
            self.add(FindingCode::Dense, &[], detail);
        }
    }

    fn report(mut self, snapshot: &Snapshot) -> Report {
        self.0.sort_by_key(|(place, _)| *place);
        Report { findings: self.0.into_iter().map(|(_, finding)| finding).collect(), revision: snapshot.video.revision }
    }
}

/// Whether a frame begins at a time, or up to half a millisecond from it: times are whole milliseconds.
fn begins_with_a_frame(start_ms: i64, thousandths: u32) -> bool {
    const UNIT: i64 = 1_000_000;
    let rate = i64::from(thousandths);
    // In frames, times `UNIT`. At most 8.64e13.
    let frames = start_ms * rate;
    let beyond = frames % UNIT;
    2 * beyond.min(UNIT - beyond) <= rate
}

/// How much of the video some placement covers, in milliseconds.
fn covered(items: &[Item<'_>], duration: i64) -> i64 {
    let mut ranges: Vec<_> = items.iter().map(|item| (item.start, item.end.min(duration))).collect();
    ranges.sort_unstable();
    let (mut covered, mut until) = (0, 0);
    for (start, end) in ranges {
        covered += (end - start.max(until)).max(0);
        until = until.max(end);
    }
    covered
}
